import pickle
from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F

from lgcn.graph import complete_edge_index
from lgcn.nn import LearnableConnectivity
from tests.nn.inputs import assert_close, assert_same_gradients, randomize
from tests.nn.literal import LiteralConnectivity

SIZES = (7, 4, 6, 5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sizes", [SIZES, (1, 3, 2, 4)])
def test_equals_the_literal_transcription(sizes: tuple[int, ...], dtype: torch.dtype) -> None:
    connectivity = randomize(LearnableConnectivity(*sizes)).to(dtype)
    literal = LiteralConnectivity(*sizes).to(dtype)
    literal.load_state_dict(connectivity.state_dict())
    nodes = 12
    landmark_id, confidence = torch.randint(0, sizes[0], (nodes,)), torch.rand(nodes, dtype=dtype)
    edge_index = torch.randint(0, nodes, (2, 60))

    weight, expected = (module(landmark_id, confidence, edge_index) for module in (connectivity, literal))
    assert_close(weight, expected)
    target = torch.rand_like(expected)
    for out in (weight, expected):
        (out - target).square().sum().backward()
    assert_same_gradients(connectivity, literal)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dense_equals_the_literal_transcription(dtype: torch.dtype) -> None:
    connectivity = randomize(LearnableConnectivity(*SIZES)).to(dtype)
    literal = LiteralConnectivity(*SIZES).to(dtype)
    literal.load_state_dict(connectivity.state_dict())
    confidence = torch.rand(3, 7, dtype=dtype)
    edge_index = complete_edge_index(7)
    dense = connectivity.dense(confidence)[:, edge_index[1], edge_index[0]]
    expected = torch.stack([literal(torch.arange(7), image, edge_index) for image in confidence])
    assert_close(dense, expected)
    target = torch.rand_like(expected)
    for out in (dense, expected):
        (out - target).square().sum().backward()
    assert_same_gradients(connectivity, literal)


def test_class_embedding_is_the_mlp_on_one_hot_pairs() -> None:
    connectivity = randomize(LearnableConnectivity(*SIZES)).double()
    g = F.one_hot(torch.arange(7)).double()
    pairs = torch.cat([g[:, None].expand(7, 7, 7), g[None].expand(7, 7, 7)], dim=-1)
    assert_close(connectivity.class_embedding(), connectivity.class_mlp(pairs))
    assert connectivity.table().shape == (5, 7, 7)


def test_sizes() -> None:
    shapes = {name: tuple(value.shape) for name, value in LearnableConnectivity(*SIZES).named_parameters()}
    assert shapes == {
        "class_mlp.lins.0.weight": (4, 14),
        "class_mlp.lins.0.bias": (4,),
        "class_mlp.lins.1.weight": (6, 4),
        "class_mlp.lins.1.bias": (6,),
        "edge_mlp.lins.0.weight": (5, 8),
        "edge_mlp.lins.0.bias": (5,),
        "edge_mlp.lins.1.weight": (1, 5),
        "edge_mlp.lins.1.bias": (1,),
    }


def test_an_uncertain_landmark_changes_the_weights_of_that_image_only() -> None:
    connectivity = randomize(LearnableConnectivity(4)).double()
    confidence = torch.full((2, 4), 0.9, dtype=torch.float64)
    confidence[1, 2] = 0.1
    sure, unsure = connectivity.dense(confidence)
    assert_close(sure, connectivity.dense(confidence[:1])[0])
    assert (sure - unsure).abs().max() > 1e-3


def test_a_pair_weighs_differently_each_way() -> None:
    weight = randomize(LearnableConnectivity(4)).dense(torch.full((1, 4), 0.5))[0]
    assert (weight - weight.t()).abs().max() > 1e-3


def test_gradients_reach_both_mlps_and_the_confidences() -> None:
    connectivity = LearnableConnectivity(6)
    confidence = torch.rand(2, 6, requires_grad=True)
    connectivity.dense(confidence).square().sum().backward()
    assert confidence.grad.abs().min() > 0
    for name, parameter in connectivity.named_parameters():
        assert name == "edge_mlp.lins.1.bias" or parameter.grad.abs().max() > 0


def test_an_unknown_type_is_not_read_from_another_row_of_the_table() -> None:
    connectivity = LearnableConnectivity(4)
    with pytest.raises(IndexError):
        connectivity(torch.tensor([0, 4]), torch.rand(2), torch.tensor([[1], [0]]))


def _in_place(connectivity: LearnableConnectivity) -> None:
    connectivity.class_mlp.lins[0].weight.add_(1.0)


def _through_data(connectivity: LearnableConnectivity) -> None:
    connectivity.edge_mlp.lins[0].bias.data.add_(1.0)


def _replaced(connectivity: LearnableConnectivity) -> None:
    weight = connectivity.edge_mlp.lins[0].weight
    connectivity.edge_mlp.lins[0].weight = torch.nn.Parameter(weight + 1.0)


def _loaded(connectivity: LearnableConnectivity) -> None:
    connectivity.load_state_dict({name: value + 1.0 for name, value in connectivity.state_dict().items()})


def _trained(connectivity: LearnableConnectivity) -> None:
    with torch.enable_grad():
        connectivity.dense(torch.rand(2, 7)).square().sum().backward()
    torch.optim.SGD(connectivity.parameters(), lr=10.0).step()


def _double(connectivity: LearnableConnectivity) -> None:
    connectivity.double()


CHANGES = [_in_place, _through_data, _replaced, _loaded, _trained, _double, LearnableConnectivity.reset_parameters]


@pytest.mark.parametrize("change", CHANGES)
def test_the_kept_table_follows_the_parameters(change: Callable[[LearnableConnectivity], None]) -> None:
    connectivity = randomize(LearnableConnectivity(*SIZES)).eval()
    with torch.no_grad():
        before = connectivity.table()
        assert connectivity.table() is before
        change(connectivity)
        after = connectivity.table()
        assert after.dtype == connectivity.edge_mlp.lins[0].weight.dtype
        assert (after - before).abs().max() > (0 if change is not _double else -1)
    assert_close(after, connectivity.table().detach())


def test_a_kept_table_is_neither_copied_nor_pickled_nor_used_in_training() -> None:
    connectivity = randomize(LearnableConnectivity(*SIZES))
    with torch.no_grad():
        kept = connectivity.table()
    assert connectivity.table() is not kept
    assert connectivity.table().requires_grad
    for copy in (deepcopy(connectivity), pickle.loads(pickle.dumps(connectivity))):
        assert copy._kept is None
        with torch.no_grad():
            copy.edge_mlp.lins[0].bias.add_(1.0)
            assert_close(copy.table(), kept + 1.0)
