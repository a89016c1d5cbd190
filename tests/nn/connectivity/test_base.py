"""What holds for every connectivity; a new one in the registry is tested by being there."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from lgcn.checks import InputError
from lgcn.graph import complete_edge_index
from lgcn.nn import CONNECTIVITIES, Connectivity
from tests.nn.inputs import Graph, assert_close, graphs, randomize

K = 5


@pytest.fixture(params=CONNECTIVITIES.names())
def connectivity(request: pytest.FixtureRequest) -> Connectivity:
    return randomize(CONNECTIVITIES[request.param](K)).double()


def confidences(images: int, landmarks: int = K) -> Tensor:
    return torch.rand(images, landmarks, dtype=torch.float64)


def as_matrix(weight: Tensor, edge_index: Tensor, nodes: int) -> Tensor:
    matrix = weight.new_zeros(nodes, nodes)
    matrix[edge_index[1], edge_index[0]] = weight
    return matrix


def test_registry() -> None:
    assert {"adjacency", "learnable", "uniform"} <= set(CONNECTIVITIES.names())
    with pytest.raises(InputError, match=r"connectivity.*learnable.*got 'learned'.*mean 'learnable'"):
        CONNECTIVITIES["learned"]


def test_size_and_repr(connectivity: Connectivity) -> None:
    edge_index = complete_edge_index(K)
    assert str(connectivity) == f"{type(connectivity).__name__}(5)"
    assert connectivity(torch.arange(K), confidences(1)[0], edge_index).shape == (K * (K - 1),)
    assert connectivity.dense(confidences(3)).shape == (3, K, K)


def test_bad_input(connectivity: Connectivity) -> None:
    with pytest.raises(InputError, match="'num_landmarks' to be at least 1 .got 0"):
        type(connectivity)(0)
    with pytest.raises(InputError, match=r"'confidence' to have shape \[B, K\] with K=5 \(got \[2, 4\]\)"):
        connectivity.dense(confidences(2, 4))
    with pytest.raises(InputError, match=r"'mask' to have shape \[B, K\] with B=2, K=5 \(got \[1, 5\]\)"):
        connectivity.dense(confidences(2), torch.ones(1, K, dtype=torch.bool))
    edge_index = complete_edge_index(K)
    with pytest.raises(InputError, match=r"'confidence' to have shape \[..., N\] with N=5 \(got \[4\]\)"):
        connectivity(torch.arange(K), confidences(1)[0, :4], edge_index)
    with pytest.raises(InputError, match=r"'landmark_id' to have shape \[N\] \(got \[1, 5\]\)"):
        connectivity(torch.arange(K)[None], confidences(1), edge_index)


def test_dense_equals_sparse(connectivity: Connectivity) -> None:
    confidence, edge_index = confidences(3), complete_edge_index(K)
    for image, weight in zip(confidence, connectivity.dense(confidence), strict=True):
        assert_close(weight, as_matrix(connectivity(torch.arange(K), image, edge_index), edge_index, K))


def test_rows_sum_to_1_over_neighbours_only(connectivity: Connectivity) -> None:
    weight = connectivity.dense(confidences(3))
    assert_close(weight.sum(dim=-1), torch.ones(3, K, dtype=torch.float64))
    assert weight.diagonal(dim1=1, dim2=2).eq(0).all()
    assert weight.ge(0).all()


def test_batch_equals_loop(connectivity: Connectivity) -> None:
    confidence = confidences(3)
    expected = torch.cat([connectivity.dense(image[None]) for image in confidence])
    assert_close(connectivity.dense(confidence), expected)


def test_images_may_share_one_edge_list(connectivity: Connectivity) -> None:
    edge_index = torch.randint(0, 4, (2, 9))
    landmark_id, confidence = torch.tensor([3, 0, 3, 1]), confidences(3, 4)
    expected = torch.stack([connectivity(landmark_id, image, edge_index) for image in confidence])
    assert_close(connectivity(landmark_id, confidence, edge_index), expected)


def test_masked_equals_dropped(connectivity: Connectivity) -> None:
    confidence = confidences(2)
    mask = torch.tensor([[True, False, True, True, False], [True, True, True, True, True]])
    weight = connectivity.dense(confidence, mask)
    for image in range(2):
        kept = mask[image].nonzero().squeeze(-1)
        edge_index = complete_edge_index(len(kept))
        dropped = connectivity(kept, confidence[image, kept], edge_index)
        assert_close(weight[image][kept][:, kept], as_matrix(dropped, edge_index, len(kept)))
        assert weight[image][~mask[image]].eq(0).all()
        assert weight[image][:, ~mask[image]].eq(0).all()


@pytest.mark.parametrize("kept", [0, 1])
def test_rows_without_neighbours_are_zero_and_differentiable(connectivity: Connectivity, kept: int) -> None:
    confidence = confidences(1).requires_grad_()
    weight = connectivity.dense(confidence, torch.arange(K)[None] < kept)
    assert weight.eq(0).all()
    if weight.requires_grad:
        gradients = torch.autograd.grad(weight.sum(), [confidence, *connectivity.parameters()], allow_unused=True)
        assert all(gradient.isfinite().all() for gradient in gradients if gradient is not None)


@pytest.mark.parametrize("name", CONNECTIVITIES.names())
def test_one_landmark_has_no_neighbours(name: str) -> None:
    connectivity = CONNECTIVITIES[name](1)
    assert connectivity.dense(torch.rand(2, 1)).eq(0).all()
    assert connectivity(torch.zeros(1, dtype=torch.long), torch.rand(1), complete_edge_index(1)).shape == (0,)


@pytest.mark.parametrize("name", CONNECTIVITIES.names())
@settings(max_examples=15, deadline=None)
@given(graph=graphs())
def test_any_graph(name: str, graph: Graph) -> None:
    torch.manual_seed(0)  # an example that fails must fail again
    connectivity = randomize(CONNECTIVITIES[name](graph.num_landmarks)).double()
    weight = connectivity(graph.landmark_id, graph.confidence, graph.edge_index)
    nodes, edges = graph.landmark_id.shape[0], graph.edge_index.shape[1]

    total = torch.zeros(nodes, dtype=torch.float64).index_add(0, graph.edge_index[1], weight)
    has_neighbours = torch.zeros(nodes, dtype=torch.bool).index_fill(0, graph.edge_index[1], True)
    assert_close(total, has_neighbours.double())

    order = torch.randperm(edges)
    assert_close(connectivity(graph.landmark_id, graph.confidence, graph.edge_index[:, order]), weight[order])

    moved = graph.permuted(torch.randperm(nodes))
    assert_close(connectivity(moved.landmark_id, moved.confidence, moved.edge_index), weight)


def test_gradcheck(connectivity: Connectivity) -> None:
    edge_index, landmark_id = torch.randint(0, 6, (2, 12)), torch.randint(0, K, (6,))
    names = [name for name, _ in connectivity.named_parameters()]

    def sparse(confidence: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(
            connectivity, dict(zip(names, parameters, strict=True)), (landmark_id, confidence, edge_index)
        )

    confidence = confidences(1, 6)[0].requires_grad_()
    if sparse(confidence, *connectivity.parameters()).requires_grad:
        assert torch.autograd.gradcheck(sparse, (confidence, *connectivity.parameters()), fast_mode=True)
    confidence = confidences(2).requires_grad_()
    if connectivity.dense(confidence).requires_grad:
        assert torch.autograd.gradcheck(connectivity.dense, (confidence,))


def test_reset_parameters_is_reproducible(connectivity: Connectivity) -> None:
    before = copy.deepcopy(connectivity.state_dict())
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        connectivity.reset_parameters()
        states.append(copy.deepcopy(connectivity.state_dict()))
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key])
        assert not torch.equal(value, before[key])


def test_copies(connectivity: Connectivity) -> None:
    confidence = confidences(2)
    expected = connectivity.dense(confidence)
    loaded = type(connectivity)(K).double()
    loaded.load_state_dict(connectivity.state_dict())
    for other in (loaded, copy.deepcopy(connectivity), pickle.loads(pickle.dumps(connectivity))):
        assert torch.equal(other.dense(confidence), expected)
