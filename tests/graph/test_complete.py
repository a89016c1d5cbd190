import pytest
import torch
from torch_geometric.utils import contains_self_loops, is_undirected

from lgcn.checks import InputError
from lgcn.graph import complete_edge_index


@pytest.mark.parametrize("num_landmarks", [1, 2, 5, 68])
def test_every_landmark_is_the_neighbour_of_every_other(num_landmarks: int) -> None:
    edge_index = complete_edge_index(num_landmarks)
    pairs = {(j, i) for i in range(num_landmarks) for j in range(num_landmarks) if i != j}
    assert edge_index.shape == (2, num_landmarks * (num_landmarks - 1))
    assert edge_index.dtype == torch.long
    assert {tuple(edge) for edge in edge_index.t().tolist()} == pairs
    assert not contains_self_loops(edge_index)
    assert is_undirected(edge_index)


def test_edges_are_sorted_by_receiving_node() -> None:
    assert complete_edge_index(3).tolist() == [[1, 2, 0, 2, 0, 1], [0, 0, 1, 1, 2, 2]]


def test_self_loops_on_request() -> None:
    edge_index = complete_edge_index(3, self_loops=True)
    assert edge_index.tolist() == [[0, 1, 2, 0, 1, 2, 0, 1, 2], [0, 0, 0, 1, 1, 1, 2, 2, 2]]


@pytest.mark.parametrize("num_landmarks", [0, -1])
def test_a_graph_has_landmarks(num_landmarks: int) -> None:
    with pytest.raises(InputError, match=f"'num_landmarks' to be 1 or more .got {num_landmarks}"):
        complete_edge_index(num_landmarks)
