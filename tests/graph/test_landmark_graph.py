from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from lgcn.checks import InputError
from lgcn.graph import complete_edge_index, landmark_graph

B, K, C = 3, 5, 7


def tensors() -> dict[str, Tensor]:
    return {
        "pos": torch.rand(B, K, 2),
        "confidence": torch.rand(B, K),
        "x": torch.rand(B, K, C),
        "y": torch.rand(B, K, 2),
    }


def test_a_batch_holds_one_graph_an_image() -> None:
    given = tensors()
    batch = landmark_graph(**given)
    assert batch.num_graphs == B
    assert batch.num_nodes == B * K
    assert sorted(batch.keys()) == sorted([*given, "landmark_id", "edge_index", "batch", "ptr"])
    for key, value in given.items():
        assert torch.equal(batch[key], value.flatten(0, 1))
    assert batch.landmark_id.tolist() == list(range(K)) * B
    assert batch.batch.tolist() == [image for image in range(B) for _ in range(K)]
    expected = torch.cat([complete_edge_index(K) + image * K for image in range(B)], dim=1)
    assert torch.equal(batch.edge_index, expected)


@pytest.mark.parametrize("self_loops", [False, True])
def test_equals_a_pyg_batch_of_single_graphs(self_loops: bool) -> None:
    given = tensors()
    batch = landmark_graph(**given, self_loops=self_loops)
    edge_index = complete_edge_index(K, self_loops)
    expected = Batch.from_data_list(
        [
            Data(
                **{key: value[image] for key, value in given.items()},
                landmark_id=torch.arange(K),
                edge_index=edge_index,
            )
            for image in range(B)
        ]
    )
    assert type(batch) is type(expected)
    assert sorted(batch.keys()) == sorted(expected.keys())
    for one, other in zip([batch, *batch.to_data_list()], [expected, *expected.to_data_list()], strict=True):
        for key, value in other:
            assert torch.equal(one[key], value), key
    again = Batch.from_data_list(batch.to_data_list())
    assert torch.equal(again.edge_index, batch.edge_index)
    assert torch.equal(batch[torch.tensor([2, 0])][0].pos, given["pos"][2])
    assert batch.clone().to("cpu").num_graphs == B
    assert landmark_graph(torch.rand(0, K, 2), torch.rand(0, K)).num_graphs == 0


def test_single_graphs_are_recovered_from_the_batch() -> None:
    given = tensors()
    graph = landmark_graph(**given)[2]
    assert torch.equal(graph.pos, given["pos"][2])
    assert torch.equal(graph.landmark_id, torch.arange(K))
    assert torch.equal(graph.edge_index, complete_edge_index(K))
    graph.validate()


def test_features_and_targets_are_optional() -> None:
    batch = landmark_graph(torch.rand(B, K, 2), torch.rand(B, K))
    assert "x" not in batch
    assert "y" not in batch
    assert batch.num_nodes == B * K


def test_self_loops_on_request() -> None:
    batch = landmark_graph(torch.rand(B, K, 2), torch.rand(B, K), self_loops=True)
    assert batch.num_edges == B * K * K
    assert batch.has_self_loops()


def test_missing_landmarks_can_be_taken_out() -> None:
    batch = landmark_graph(**tensors())
    there = torch.ones(B * K, dtype=torch.bool)
    there[[0, 7, 8]] = False
    rest = batch.subgraph(there)
    assert rest.landmark_id.tolist() == [1, 2, 3, 4, 0, 1, 4, 0, 1, 2, 3, 4]
    assert rest.num_edges == 4 * 3 + 3 * 2 + 5 * 4


def test_gradients_pass() -> None:
    pos = torch.rand(B, K, 2, requires_grad=True)
    landmark_graph(pos, torch.rand(B, K)).pos.sum().backward()
    assert torch.equal(pos.grad, torch.ones(B, K, 2))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("pos", torch.zeros(K, 2)),
        ("confidence", torch.zeros(B, K + 1)),
        ("x", torch.zeros(B + 1, K, C)),
        ("y", torch.zeros(B, K, 3)),
    ],
)
def test_shapes_are_checked(name: str, wrong: Tensor) -> None:
    given: dict[str, Any] = tensors() | {name: wrong}
    with pytest.raises(InputError, match=f"'{name}' to have shape"):
        landmark_graph(**given)
