"""The contract of every connectivity; a new one is tested by adding it to the table in inputs.py."""

import copy
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from lgcn.checks import InputError
from lgcn.graph import complete_edge_index
from lgcn.nn import AdjacencyConnectivity, Connectivity, UniformConnectivity, for_inference
from tests.nn.inputs import CONNECTIVITIES, Graph, assert_close, build_connectivity, graphs, randomize

K = 5


CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in CONNECTIVITIES),
    *((name, {"self_loops": "zero"}) for name in CONNECTIVITIES),
    *((name, {"normalization": "raw", "self_loops": "scored"}) for name in CONNECTIVITIES),
    ("adjacency", {"normalization": "sigmoid", "symmetric": True}),
    ("learnable", {"normalization": "sigmoid", "self_loops": "zero"}),
    ("learnable", {"symmetric": True, "edge_hidden_channels": [4, 3]}),
    ("learnable", {"norm": "batch_norm", "act_last": True, "self_loops": "zero"}),
    ("learnable", {"use_class_embedding": False}),
    ("learnable", {"use_confidence": False, "self_loops": "scored"}),
]


def named(case: tuple[str, dict[str, Any]]) -> str:
    return "-".join([case[0], *(f"{key}={value}" for key, value in case[1].items())])


def build(case: tuple[str, dict[str, Any]], landmarks: int = K) -> Connectivity:
    """In eval mode, since batch normalisation in training is of the whole batch."""
    connectivity = randomize(build_connectivity(case[0], landmarks, **case[1])).double().eval()
    for name, buffer in connectivity.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    return connectivity


@pytest.fixture(params=CASES, ids=named)
def connectivity(request: pytest.FixtureRequest) -> Connectivity:
    return build(request.param)


def complete(connectivity: Connectivity, landmarks: int = K) -> Tensor:
    """The edge list of the graph that the dense form works on."""
    return complete_edge_index(landmarks, self_loops=connectivity.self_loops != "none")


def confidences(images: int, landmarks: int = K) -> Tensor:
    return torch.rand(images, landmarks, dtype=torch.float64)


def as_matrix(weight: Tensor, edge_index: Tensor, nodes: int) -> Tensor:
    matrix = weight.new_zeros(nodes, nodes)
    matrix[edge_index[1], edge_index[0]] = weight
    return matrix


def test_size_and_repr(connectivity: Connectivity) -> None:
    edge_index = complete(connectivity)
    assert str(connectivity).startswith(f"{type(connectivity).__name__}(5")
    assert ("self_loops='zero'" in str(connectivity)) == (connectivity.self_loops == "zero")
    assert connectivity(torch.arange(K), confidences(1)[0], edge_index).shape == edge_index.shape[1:]
    assert connectivity.dense(confidences(3)).shape == (3, K, K)


def test_bad_input(connectivity: Connectivity) -> None:
    with pytest.raises(InputError, match="'num_landmarks' to be 1 or more .got 0"):
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
    with pytest.raises(InputError, match=r"'landmark_id' to hold integers \(got torch.float32\)"):
        connectivity(torch.arange(K).float(), confidences(1)[0], edge_index)
    with pytest.raises(InputError, match=r"'landmark_id' in 0 ... 4 \(got -1\)"):
        connectivity(torch.arange(K) - 1, confidences(1)[0], edge_index)
    with pytest.raises(InputError, match=r"'edge_index' of torch.int64 \(got torch.int32\). Use .long"):
        connectivity(torch.arange(K), confidences(1)[0], edge_index.int())
    with pytest.raises(InputError, match=r"'edge_index' to have shape \[2, E\]"):
        connectivity(torch.arange(K), confidences(1)[0], edge_index.t())
    with pytest.raises(InputError, match=r"'edge_index' in 0 ... 4 \(got 5\)"):
        connectivity(torch.arange(K), confidences(1)[0], edge_index + 1)
    with pytest.raises(InputError, match=r"'mask' to have shape \[..., N\] with N=5 \(got \[4\]\)"):
        connectivity(torch.arange(K), confidences(1)[0], edge_index, torch.ones(4, dtype=torch.bool))


INTEGERS = (torch.int32, torch.uint8, torch.int8, torch.int16, torch.uint16, torch.bool)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_types_of_all_dtypes_that_can_be_an_index(connectivity: Connectivity, dtype: torch.dtype) -> None:
    confidence, edge_index = confidences(2), complete(connectivity)
    landmark_id = torch.tensor([1, 0, 1, 0, 1])
    if dtype == torch.int32:
        weight = connectivity(landmark_id.to(dtype), confidence, edge_index)
        assert_close(weight, connectivity(landmark_id, confidence, edge_index))
    else:
        with pytest.raises(InputError, match=rf"'landmark_id' to hold integers \(got {dtype}\), .*Use .long\(\)"):
            connectivity(landmark_id.to(dtype), confidence, edge_index)


def test_confidences_that_are_integers(connectivity: Connectivity) -> None:
    confidence = torch.ones(2, K, dtype=torch.long)
    for call in (connectivity.dense, lambda each: connectivity(torch.arange(K), each, complete(connectivity))):
        with pytest.raises(InputError, match=r"'confidence' to hold floating-point numbers \(got torch.int64\). Use"):
            call(confidence)


def test_masks_of_other_images(connectivity: Connectivity) -> None:
    masks = torch.ones(3, K, dtype=torch.bool)
    edge_index = complete(connectivity)
    with pytest.raises(InputError, match=r"'mask' for 2 images, as 'confidence' is, or one for all \(got \[3, 5\]\)"):
        connectivity(torch.arange(K), confidences(2), edge_index, masks)
    shared = connectivity(torch.arange(K), confidences(1)[0], edge_index, masks)
    assert shared.shape == (3, edge_index.shape[1])


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_confidences_that_are_not_finite(connectivity: Connectivity, wrong: float) -> None:
    confidence = confidences(2)
    confidence[1, 3] = wrong
    message = rf"'confidence' to be finite \(got {wrong} at \[1, 3\]\). Mask or drop"
    with pytest.raises(InputError, match=message):
        connectivity.dense(confidence)
    with pytest.raises(InputError, match=message):
        connectivity(torch.arange(K), confidence, complete(connectivity))
    mask = torch.ones(2, K, dtype=torch.bool)
    mask[1, 3] = False
    assert connectivity.dense(confidence, mask).isfinite().all()
    assert connectivity(torch.arange(K), confidence, complete(connectivity), mask).isfinite().all()


def test_options_that_are_not_known() -> None:
    with pytest.raises(InputError, match="'normalization' to be one of softmax, sigmoid, raw .got 'max'"):
        AdjacencyConnectivity(K, normalization="max")
    with pytest.raises(InputError, match="'self_loops' to be one of none, scored, zero .got 'yes'"):
        AdjacencyConnectivity(K, self_loops="yes")


def test_dense_equals_sparse(connectivity: Connectivity) -> None:
    confidence, edge_index = confidences(3), complete(connectivity)
    for image, weight in zip(confidence, connectivity.dense(confidence), strict=True):
        assert_close(weight, as_matrix(connectivity(torch.arange(K), image, edge_index), edge_index, K))


def test_rows_sum_to_1_over_neighbours_only(connectivity: Connectivity) -> None:
    weight = connectivity.dense(confidences(3))
    assert connectivity.sums_to_one == (connectivity.normalization == "softmax")
    if connectivity.sums_to_one:
        assert_close(weight.sum(dim=-1), torch.ones(3, K, dtype=torch.float64))
        assert weight.ge(0).all()
    assert weight.diagonal(dim1=1, dim2=2).eq(0).all() == (connectivity.self_loops == "none")


def test_symmetric_on_request() -> None:
    for name in CONNECTIVITIES:
        connectivity = build((name, {"normalization": "raw", "symmetric": True}))
        weight = connectivity.dense(confidences(2))
        assert_close(weight, weight.transpose(1, 2))
        edge_index = torch.tensor([[0, 1, 1], [1, 0, 2]])
        there, back, _ = connectivity(torch.arange(K), confidences(1)[0], edge_index)
        assert_close(there, back)


def test_the_copy_for_inference_stays(connectivity: Connectivity) -> None:
    confidence, edge_index = confidences(3), complete(connectivity)
    inference = for_inference(connectivity)
    expected, on_edges = connectivity.dense(confidence), connectivity(torch.arange(K), confidence, edge_index)
    assert not inference.training and not any(parameter.requires_grad for parameter in inference.parameters())
    for parameter in connectivity.parameters():
        parameter.data.add_(1.0)
    for other in (inference, copy.deepcopy(inference), pickle.loads(pickle.dumps(inference))):
        assert_close(other.dense(confidence), expected)
        assert_close(other(torch.arange(K), confidence, edge_index), on_edges)
        assert_close(other.float().dense(confidence.float()), expected.float())


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
        edge_index = complete(connectivity, len(kept))
        dropped = connectivity(kept, confidence[image, kept], edge_index)
        assert_close(weight[image][kept][:, kept], as_matrix(dropped, edge_index, len(kept)))
        assert weight[image][~mask[image]].eq(0).all()
        assert weight[image][:, ~mask[image]].eq(0).all()
    edge_index = complete(connectivity)
    sparse = connectivity(torch.arange(K), confidence, edge_index, mask)
    for image in range(2):
        assert_close(as_matrix(sparse[image], edge_index, K), weight[image])


@pytest.mark.parametrize("kept", [0, 1])
def test_rows_without_neighbours_are_zero_and_differentiable(connectivity: Connectivity, kept: int) -> None:
    confidence = confidences(1).requires_grad_()
    weight = connectivity.dense(confidence, torch.arange(K)[None] < kept)
    itself = connectivity.self_loops != "none"
    assert weight.flatten()[int(kept and itself) :].eq(0).all()
    if weight.requires_grad:
        gradients = torch.autograd.grad(weight.sum(), [confidence, *connectivity.parameters()], allow_unused=True)
        assert all(gradient.isfinite().all() for gradient in gradients if gradient is not None)


@pytest.mark.parametrize("name", CONNECTIVITIES)
def test_one_landmark_has_no_neighbours(name: str) -> None:
    connectivity = build_connectivity(name, 1)
    assert connectivity.dense(torch.rand(2, 1)).eq(0).all()
    assert connectivity(torch.zeros(1, dtype=torch.long), torch.rand(1), complete_edge_index(1)).shape == (0,)


@pytest.mark.parametrize("case", CASES, ids=named)
@settings(max_examples=10, deadline=None)
@given(graph=graphs())
def test_any_graph(case: tuple[str, dict[str, Any]], graph: Graph) -> None:
    torch.manual_seed(0)  # an example that fails must fail again
    connectivity = build(case, graph.num_landmarks)
    weight = connectivity(graph.landmark_id, graph.confidence, graph.edge_index)
    nodes, edges = graph.landmark_id.shape[0], graph.edge_index.shape[1]

    if connectivity.normalization == "softmax":
        total = torch.zeros(nodes, dtype=torch.float64).index_add(0, graph.edge_index[1], weight)
        near = weight > 0 if case[0] == "topology" else torch.ones(edges, dtype=torch.bool)
        has_neighbours = torch.zeros(nodes, dtype=torch.bool).index_fill(0, graph.edge_index[1, near], True)
        assert_close(total, has_neighbours.double())

    order = torch.randperm(edges)
    assert_close(connectivity(graph.landmark_id, graph.confidence, graph.edge_index[:, order]), weight[order])

    moved = graph.permuted(torch.randperm(nodes))
    assert_close(connectivity(moved.landmark_id, moved.confidence, moved.edge_index), weight)

    mask = torch.rand(nodes) < 0.7
    there = mask[graph.edge_index].all(dim=0)
    masked = connectivity(graph.landmark_id, graph.confidence, graph.edge_index, mask)
    expected = torch.zeros_like(weight)
    expected[there] = connectivity(graph.landmark_id, graph.confidence, graph.edge_index[:, there])
    assert_close(masked, expected)


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
        assert torch.autograd.gradgradcheck(connectivity.dense, (confidence,))


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_transforms(connectivity: Connectivity, form: str) -> None:
    edge_index = complete(connectivity)

    def call(confidence: Tensor) -> Tensor:
        if form == "dense":
            return connectivity.dense(confidence)
        return connectivity(torch.arange(K), confidence, edge_index)

    confidence = confidences(2)
    expected = torch.autograd.functional.jacobian(call, confidence)
    for jacobian in (torch.func.jacrev, torch.func.jacfwd):
        assert_close(jacobian(call)(confidence), expected)
    several = torch.stack([confidence, confidence.flip(0), confidences(2)])
    right = torch.stack([call(each) for each in several])
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            assert_close(torch.func.vmap(call)(several), right)


def test_an_ensemble_with_vmap() -> None:
    members = [randomize(build_connectivity("learnable", K)).double().eval() for _ in range(3)]
    parameters, _ = torch.func.stack_module_state(members)
    confidence, edge_index = confidences(2), complete_edge_index(K)
    shell = copy.deepcopy(members[0])

    def call(parameters: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(shell, parameters, (torch.arange(K), confidence, edge_index))

    expected = torch.stack([member(torch.arange(K), confidence, edge_index) for member in members])
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            assert_close(torch.func.vmap(call)(parameters), expected)


def test_reset_parameters_is_reproducible(connectivity: Connectivity) -> None:
    before = copy.deepcopy(connectivity.state_dict())
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        connectivity.reset_parameters()
        states.append(copy.deepcopy(connectivity.state_dict()))
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key])
        assert key.endswith("num_batches_tracked") or not torch.equal(value, before[key])


@pytest.mark.parametrize("case", CASES, ids=named)
def test_made_on_the_meta_device(case: tuple[str, dict[str, Any]]) -> None:
    expected = build(case)
    with torch.device("meta"):
        connectivity = build_connectivity(case[0], K, **case[1]).double().eval()
        shape = connectivity.dense(torch.rand(2, K, dtype=torch.float64)).shape
    assert shape == (2, K, K)
    assert all(tensor.is_meta for tensor in (*connectivity.parameters(), *connectivity.buffers()))
    assert connectivity.sums_to_one == expected.sums_to_one
    connectivity = connectivity.to_empty(device="cpu")
    connectivity.load_state_dict(expected.state_dict())
    confidence = confidences(2)
    assert torch.equal(connectivity.dense(confidence), expected.dense(confidence))
    edge_index = complete(connectivity)
    weight = connectivity(torch.arange(K), confidence, edge_index)
    assert torch.equal(weight, expected(torch.arange(K), confidence, edge_index))


def test_averages_of_weights_and_buffers(connectivity: Connectivity) -> None:
    confidence = confidences(2)
    average = AveragedModel(connectivity, use_buffers=True)
    for _ in range(3):
        average.update_parameters(connectivity)
    assert_close(average.module.dense(confidence), connectivity.dense(confidence))


def test_adjacency_starts_uniform_and_learns_all_pairs_but_the_diagonal() -> None:
    connectivity = AdjacencyConnectivity(4)
    assert_close(connectivity.dense(torch.rand(2, 4)), UniformConnectivity(4).dense(torch.rand(2, 4)))
    with torch.no_grad():
        connectivity.weight[2] = torch.tensor([0.0, torch.log(torch.tensor(3.0)), 7.0, -torch.inf])
    assert_close(connectivity.dense(torch.rand(1, 4))[0, 2], torch.tensor([0.25, 0.75, 0.0, 0.0]))
    randomize(connectivity).dense(torch.rand(2, 4)).square().sum().backward()
    assert connectivity.weight.grad.ne(0).equal(~torch.eye(4, dtype=torch.bool))


def test_uniform_weights_are_shares_of_the_neighbours_present() -> None:
    mask = torch.tensor([[True, True, False, True]])
    weight = UniformConnectivity(4).dense(torch.rand(1, 4), mask)[0]
    expected = [[0.0, 0.5, 0.0, 0.5], [0.5, 0.0, 0.0, 0.5], [0.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]]
    assert_close(weight, torch.tensor(expected))
    edge_index = torch.tensor([[1, 2, 0, 0], [0, 0, 1, 1]])
    assert_close(UniformConnectivity(3)(torch.arange(3), torch.rand(3), edge_index), torch.full((4,), 0.5))
