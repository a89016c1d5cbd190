import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lgcn.checks import InputError
from lgcn.nn import CONNECTIVITIES, LGCN, DenseLGCNConv, LearnableConnectivity, LGCNConv
from lgcn.nn.models import lgcn as module
from tests.nn.inputs import (
    Landmarks,
    assert_close,
    assert_same_gradients,
    build_connectivity,
    random_landmarks,
    randomize,
)
from tests.nn.literal import LiteralConnectivity, LiteralLGCN

K, C = 6, 5
CHANNELS = (8, 4, 2)


def build(dense: bool, dtype: torch.dtype = torch.float64, connectivity: str = "learnable", **options: object) -> LGCN:
    return randomize(LGCN(C, CHANNELS, build_connectivity(connectivity, K), dense=dense, **options)).to(dtype)


def run(lgcn: LGCN, landmarks: Landmarks, mask: Tensor | None = None) -> Tensor:
    """Runs either form: [B, K, 2], or [N, 2] of the landmarks that are there."""
    if lgcn.dense:
        out = lgcn(*landmarks, mask=mask)
        return out if mask is None else out[mask]
    batch = landmarks.graph(mask)
    out = lgcn(batch.x, batch.pos, batch.confidence, batch.edge_index, batch.landmark_id)
    return out.view(*landmarks.pos.shape[:2], -1) if mask is None else out


@pytest.mark.parametrize("dense", [False, True])
def test_sizes(dense: bool) -> None:
    lgcn = LGCN(66, (64, 16, 2), LearnableConnectivity(K), dense=dense)
    assert all(type(conv) is (DenseLGCNConv if dense else LGCNConv) for conv in lgcn.convs)
    assert [tuple(conv.lin_neighbor.weight.shape) for conv in lgcn.convs] == [(64, 68), (16, 66), (2, 18)]
    assert f"{'Dense' if dense else ''}LGCNConv(64, 16, connectivity=None, shape_features=True)" in str(lgcn)
    assert run(lgcn, random_landmarks(3, K, 66)).shape == (3, K, 2)


def test_both_forms_have_the_same_state() -> None:
    sparse, dense = build(False), build(True)
    sparse.load_state_dict(dense.state_dict())
    landmarks = random_landmarks(2, K, C, torch.float64)
    assert_close(run(sparse, landmarks), run(dense, landmarks))


def test_bad_input() -> None:
    x, pos, confidence = random_landmarks(2, K, C)
    connectivity = LearnableConnectivity(K)
    with pytest.raises(InputError, match="one 'shape_features' flag a layer, 3 .got 2"):
        LGCN(C, CHANNELS, connectivity, shape_features=[True, False])
    with pytest.raises(InputError, match="'channels' to hold the width of one layer at least"):
        LGCN(C, [], connectivity)
    with pytest.raises(InputError, match="'act' to be an activation of PyTorch's, or None .got 'relux'"):
        LGCN(C, CHANNELS, connectivity, act="relux")

    sparse, dense = build(False, torch.float32), build(True, torch.float32)
    batch = Landmarks(x, pos, confidence).graph()
    with pytest.raises(InputError, match="'edge_index' .* and 'landmark_id' .* for a sparse LGCN"):
        sparse(batch.x, batch.pos, batch.confidence)
    mask = torch.ones(2, K, dtype=torch.bool)
    with pytest.raises(InputError, match=r"'mask' to have shape \[..., N\] with N=12 \(got \[2, 6\]\)"):
        sparse(batch.x, batch.pos, batch.confidence, batch.edge_index, batch.landmark_id, mask)
    with pytest.raises(InputError, match="no 'edge_index' and no 'landmark_id' for a dense LGCN"):
        dense(x, pos, confidence, batch.edge_index, batch.landmark_id)
    with pytest.raises(InputError, match=r"'x' to have shape \[B, K, C\] with C=5 \(got \[2, 6, 4\]\)"):
        dense(x[..., :4], pos, confidence)
    with pytest.raises(InputError, match=r"'confidence' to have shape \[B, K\] with B=2, K=6 \(got \[2, 5\]\)"):
        dense(x, pos, confidence[:, :5])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("options", [{}, {"shape_features": [True, False, True], "bias": False}])
def test_equals_the_literal_transcription(options: dict[str, object], dense: bool, dtype: torch.dtype) -> None:
    landmarks = random_landmarks(3, K, C, dtype)
    lgcn = build(dense, dtype, **options).train()
    literal = LiteralLGCN(C, CHANNELS, LiteralConnectivity(K), **options).to(dtype)
    literal.load_state_dict(lgcn.state_dict())

    batch = landmarks.graph()
    expected = literal(batch.x, batch.pos, batch.confidence, batch.edge_index, batch.landmark_id).view(3, K, 2)
    out = run(lgcn, landmarks)
    assert_close(out, expected)

    target = torch.randn_like(expected)
    for prediction in (out, expected):
        (prediction - target).square().mean().backward()
    assert_same_gradients(lgcn, literal)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dense", [False, True])
def test_faces_may_lie_anywhere(dense: bool, masked: bool) -> None:
    landmarks = random_landmarks(3, 68, C)
    offsets = torch.tensor([1000.0, 7000.0, -900.0]).view(3, 1, 1)
    landmarks = landmarks._replace(pos=50 * landmarks.pos + offsets)
    mask = torch.rand(3, 68) < 0.7 if masked else None
    lgcn = LGCN(C, CHANNELS, LearnableConnectivity(68), dense=dense)
    batch = landmarks.graph()
    nodes = tuple(landmarks) if dense else (batch.x, batch.pos, batch.confidence, batch.edge_index, batch.landmark_id)
    mask = mask if dense or mask is None else mask.flatten()
    exact = copy.deepcopy(lgcn).double()(*(n.double() if n.is_floating_point() else n for n in nodes), mask=mask)
    assert_close(lgcn(*nodes, mask=mask), exact.float())
    # The gradients of the weights are made of positions too.
    found, expected = (
        torch.autograd.grad(module(*given, mask=mask).square().sum(), list(module.connectivity.parameters()))
        for module, given in (
            (lgcn, nodes),
            (copy.deepcopy(lgcn).double(), [n.double() if n.is_floating_point() else n for n in nodes]),
        )
    )
    scale = max(float(other.abs().max()) for other in expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double() / scale, other / scale, rtol=0, atol=2e-5)


@pytest.mark.parametrize("dense", [False, True])
def test_equals_the_literal_transcription_in_the_size_of_the_paper(dense: bool) -> None:
    landmarks = random_landmarks(2, 98, 66)
    lgcn = LGCN(66, (64, 16, 2), LearnableConnectivity(98), dense=dense)
    literal = LiteralLGCN(66, (64, 16, 2), LiteralConnectivity(98))
    literal.load_state_dict(lgcn.state_dict())
    batch = landmarks.graph()
    expected = literal(batch.x, batch.pos, batch.confidence, batch.edge_index, batch.landmark_id)
    assert_close(run(lgcn, landmarks), expected.view(2, 98, 2))


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("connectivity", CONNECTIVITIES.names())
def test_twin_shares_all_parameters(connectivity: str, dense: bool) -> None:
    lgcn = build(dense, connectivity=connectivity, act="tanh", shape_features=[True, False, True], bias=False).eval()
    twin = lgcn.twin()
    assert twin.dense is not dense
    assert not twin.training
    assert {name: id(parameter) for name, parameter in twin.named_parameters()} == {
        name: id(parameter) for name, parameter in lgcn.named_parameters()
    }
    landmarks = random_landmarks(2, K, C, torch.float64)
    assert_close(run(twin, landmarks), run(lgcn, landmarks))
    mask = torch.tensor([[True, False, True, True, False, True], [True] * K])
    assert_close(run(twin, landmarks, mask), run(lgcn, landmarks, mask))


def test_activation_between_the_layers_and_not_after_the_last() -> None:
    landmarks = random_landmarks(2, K, C, torch.float64)
    lgcn = build(True)
    weight = lgcn.connectivity.dense(landmarks.confidence)
    x = landmarks.x
    for layer, conv in enumerate(lgcn.convs):
        x = conv(x if layer == 0 else x.relu(), landmarks.pos, edge_weight=weight)
    assert_close(run(lgcn, landmarks), x)
    assert x.min() < 0
    linear = build(True, act=None)
    double = Landmarks(2 * landmarks.x, 2 * landmarks.pos, landmarks.confidence)
    zero = Landmarks(0 * landmarks.x, 0 * landmarks.pos, landmarks.confidence)
    assert_close(run(linear, double) - run(linear, landmarks), run(linear, landmarks) - run(linear, zero))


@pytest.mark.parametrize("dense", [False, True])
def test_connectivity_is_returned(dense: bool) -> None:
    landmarks = random_landmarks(2, K, C, torch.float64)
    lgcn = build(dense)
    if dense:
        out, weight = lgcn(*landmarks, return_connectivity=True)
        assert_close(weight.sum(dim=-1), torch.ones(2, K, dtype=torch.float64))
    else:
        batch = landmarks.graph()
        arguments = (batch.x, batch.pos, batch.confidence, batch.edge_index, batch.landmark_id)
        out, weight = lgcn(*arguments, return_connectivity=True)
        assert_close(weight, lgcn.connectivity(batch.landmark_id, batch.confidence, batch.edge_index))
    assert_close(out.view(2, K, 2), run(lgcn, landmarks))


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 3), st.lists(st.booleans(), min_size=K, max_size=K), st.integers(0, 99))
def test_dropping_landmarks_and_the_order_of_nodes(images: int, there: list[bool], seed: int) -> None:
    torch.manual_seed(seed)
    dense = build(True)
    sparse = dense.twin()
    landmarks = random_landmarks(images, K, C, torch.float64)
    mask = torch.rand(images, K) < 0.5
    mask[0] = torch.tensor(there)
    out = run(sparse, landmarks, mask)
    assert_close(run(dense, landmarks, mask), out)

    batch = landmarks.graph(mask)
    order = torch.randperm(batch.num_nodes)
    place = torch.empty_like(order)
    place[order] = torch.arange(order.shape[0])
    nodes = (batch.x[order], batch.pos[order], batch.confidence[order])
    assert_close(sparse(*nodes, place[batch.edge_index], batch.landmark_id[order]), out[order])


@pytest.mark.parametrize("dense", [False, True])
def test_batch_equals_loop(dense: bool) -> None:
    landmarks = random_landmarks(3, K, C, torch.float64)
    lgcn = build(dense)
    loop = [run(lgcn, Landmarks(*(tensor[image, None] for tensor in landmarks))) for image in range(3)]
    assert_close(run(lgcn, landmarks), torch.cat(loop))


def test_images_may_share_one_edge_list() -> None:
    landmarks = random_landmarks(3, K, C, torch.float64)
    lgcn = build(False)
    edge_index = landmarks.graph()[0].edge_index
    assert_close(lgcn(*landmarks, edge_index, torch.arange(K)), run(lgcn, landmarks))


@pytest.mark.parametrize("dense", [False, True])
def test_gradients_reach_the_connectivity_and_the_confidences(dense: bool) -> None:
    landmarks = random_landmarks(2, K, C, torch.float64, requires_grad=True)
    lgcn = build(dense)
    run(lgcn, landmarks).square().sum().backward()
    assert all(tensor.grad.abs().max() > 0 for tensor in landmarks)
    assert all(parameter.grad.abs().max() > 0 for parameter in lgcn.connectivity.class_mlp.parameters())


def test_gradcheck() -> None:
    landmarks = random_landmarks(2, K, C, torch.float64, requires_grad=True)
    for lgcn in (build(True), build(False)):
        assert torch.autograd.gradcheck(lambda *inputs, lgcn=lgcn: run(lgcn, Landmarks(*inputs)), tuple(landmarks))


@pytest.mark.parametrize("dense", [False, True])
def test_reset_parameters_is_reproducible(dense: bool) -> None:
    lgcn = build(dense)
    states = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        lgcn.reset_parameters()
        states.append(copy.deepcopy(lgcn.state_dict()))
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key])
        assert not torch.equal(value, states[2][key])


@pytest.mark.parametrize("dense", [False, True])
def test_copies(dense: bool) -> None:
    landmarks = random_landmarks(2, K, C)
    lgcn = build(dense, torch.float32)
    for other in (copy.deepcopy(lgcn), pickle.loads(pickle.dumps(lgcn))):
        assert torch.equal(run(other, landmarks), run(lgcn, landmarks))


def test_compiled_by_the_inductor() -> None:
    lgcn = build(True, torch.float32).eval()
    compiled = torch.compile(lgcn, fullgraph=True, dynamic=True)
    with torch.no_grad():
        for images in (2, 3):
            landmarks = random_landmarks(images, K, C)
            assert_close(compiled(*landmarks), lgcn(*landmarks))


def test_exports_with_a_free_number_of_images() -> None:
    lgcn = build(True, torch.float32).eval()
    images = torch.export.Dim("B")
    exported = torch.export.export(
        lgcn,
        tuple(random_landmarks(2, K, C)),
        dynamic_shapes={"x": {0: images}, "pos": {0: images}, "confidence": {0: images}},
    )
    landmarks = random_landmarks(5, K, C)
    assert_close(exported.module()(*landmarks), lgcn(*landmarks))


@pytest.mark.parametrize("norm", ["batch_norm", "layer_norm"])
@pytest.mark.parametrize("training", [True, False])
def test_norms_see_the_nodes_that_are_there(norm: str, training: bool) -> None:
    landmarks = random_landmarks(3, K, C, torch.float64)
    mask = torch.rand(3, K) < 0.7
    dense = build(True, norm=norm).train(training)
    # batch_norm moves its running statistics: both forms start from the same.
    sparse = copy.deepcopy(dense).twin()
    assert_close(run(dense, landmarks, mask), run(sparse, landmarks, mask))
    assert_close(run(dense, landmarks), run(sparse, landmarks))
    for key, value in sparse.state_dict().items():
        assert_close(dense.state_dict()[key].double(), value.double())


def test_dropout_in_training_only() -> None:
    landmarks = random_landmarks(2, K, C, torch.float64)
    lgcn = build(True, dropout=0.5)
    assert not torch.equal(run(lgcn, landmarks), run(lgcn, landmarks))
    lgcn.eval()
    assert torch.equal(run(lgcn, landmarks), run(lgcn, landmarks))
    assert_close(run(lgcn.twin(), landmarks), run(lgcn, landmarks))


@pytest.mark.parametrize("dense", [False, True])
def test_edge_weights_from_elsewhere(dense: bool) -> None:
    landmarks = random_landmarks(2, K, C, torch.float64)
    lgcn = build(dense)
    batch = landmarks.graph()
    if dense:
        weight = lgcn.connectivity.dense(landmarks.confidence)
        assert_close(lgcn(*landmarks, edge_weight=weight), lgcn(*landmarks))
        assert (lgcn(*landmarks, edge_weight=2 * weight) - lgcn(*landmarks)).abs().max() > 0.1
    else:
        arguments = (batch.x, batch.pos, batch.confidence, batch.edge_index, batch.landmark_id)
        out, weight = lgcn(*arguments, return_connectivity=True)
        assert_close(lgcn(*arguments, edge_weight=weight), out)


@pytest.mark.parametrize("name", CONNECTIVITIES.names())
def test_missing_landmarks_are_not_read_in_either_form(name: str) -> None:
    x, pos, confidence = random_landmarks(3, K, C, torch.float64)
    mask = torch.rand(3, K) < 0.6
    dense = build(True, connectivity=name)
    expected = dense(x, pos, confidence, mask=mask)
    assert expected[~mask].eq(0).all()
    hole = ~mask.unsqueeze(-1)
    x, pos = x.masked_fill(hole, torch.nan), pos.masked_fill(hole, torch.nan)
    confidence = confidence.masked_fill(~mask, torch.nan)
    assert_close(dense(x, pos, confidence, mask=mask), expected)
    edge_index = random_landmarks(1, K, C).graph().edge_index
    shared = dense.twin()(x, pos, confidence, edge_index, torch.arange(K), mask=mask)
    assert_close(shared, expected)
    for conv in (dense.convs[0], dense.twin().convs[0]):
        weight = dense.connectivity(torch.arange(K), confidence, edge_index, mask)
        if isinstance(conv, LGCNConv):
            out = conv(x, edge_index, pos, edge_weight=weight, mask=mask)
        else:
            out = conv(x, pos, edge_weight=dense.connectivity.dense(confidence, mask), mask=mask)
        assert out.isfinite().all() and out[~mask].eq(0).all()


def count_calls(monkeypatch: pytest.MonkeyPatch, name: str) -> list[object]:
    """One entry for each time that a stack calls one of the functions that it uses."""
    calls: list[object] = []
    called = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *args, **kwargs: calls.append(name) or called(*args, **kwargs))
    return calls


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"act": None}, {"act": "elu"}, {"dropout": 0.5}])
@pytest.mark.parametrize("connectivity", ["learnable", "adjacency", "topology", "uniform"])
def test_a_frozen_stack_runs_a_few_nodes_at_once(
    monkeypatch: pytest.MonkeyPatch, connectivity: str, options: dict[str, object], dtype: torch.dtype
) -> None:
    at_once = count_calls(monkeypatch, "join")
    lgcn = build(True, dtype, connectivity, **options).eval()
    frozen = lgcn.frozen()
    for images in (0, 1, 3):
        landmarks = random_landmarks(images, K, C, dtype)
        expected, expected_weight = lgcn(*landmarks, return_connectivity=True)
        with torch.no_grad():
            out, weight = frozen(*landmarks, return_connectivity=True)
            assert_close(frozen(*landmarks), expected)
        assert_close(out, expected)
        assert_close(weight, expected_weight)
    assert len(at_once) == 6


def test_what_a_frozen_stack_does_not_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = count_calls(monkeypatch, "join")
    landmarks = random_landmarks(2, K, C, torch.float64)
    x, pos, confidence = landmarks
    here = torch.rand(2, K) > 0.3
    weight = torch.rand(2, K, K, dtype=torch.float64)
    for lgcn, arguments in (
        (build(True), {"mask": here}),
        (build(True), {"edge_weight": weight}),
        (build(True, norm="batch_norm"), {}),
        (build(True, shape_features=[True, False, True]), {}),
    ):
        expected = lgcn.eval()(*landmarks, **arguments)
        with torch.no_grad():
            assert_close(lgcn.frozen()(*landmarks, **arguments), expected)
    frozen = build(True).eval().frozen()
    assert_close(frozen(x.requires_grad_(), pos, confidence), frozen(*landmarks))
    assert frozen(*landmarks).requires_grad
    many = random_landmarks(600 // K, K, C, torch.float64)
    with torch.no_grad():
        all_of_them = frozen(*many)
        assert not at_once
        assert_close(all_of_them[:1], frozen(*(each[:1] for each in many)))
    assert len(at_once) == 1


def test_hooks_of_a_frozen_stack_and_of_its_copies_are_called() -> None:
    landmarks = random_landmarks(2, K, C, torch.float64)
    frozen = build(True).eval().frozen()
    for copied in (frozen, copy.deepcopy(frozen), pickle.loads(pickle.dumps(frozen))):
        for layer in (copied.convs[0], copied.convs[1], copied.act):
            seen: list[Tensor] = []
            with torch.no_grad():
                expected = copied(*landmarks)
                handle = layer.register_forward_hook(lambda module, given, out, seen=seen: seen.append(out))
                assert_close(copied(*landmarks), expected)
                calls = 2 if layer is copied.act else 1
                assert len(seen) == calls
                handle.remove()
                copied(*landmarks)
                assert len(seen) == calls


def test_what_is_done_to_a_frozen_stack() -> None:
    landmarks = random_landmarks(2, K, C, torch.float64)
    with torch.no_grad():
        # Types, and places of modules.
        frozen = build(True).eval().frozen()
        single = [each.float() for each in landmarks]
        assert_close(frozen.float()(*single), frozen.double()(*landmarks).float())
        frozen.act = torch.nn.Tanh()
        other = build(True, act="tanh")
        other.connectivity, other.convs = frozen.connectivity, frozen.convs
        assert_close(frozen(*landmarks), other.eval()(*landmarks))
        # Weights that one layer loads.
        frozen, source = (build(True).eval() for _ in range(2))
        frozen = frozen.frozen()
        before = frozen(*landmarks)
        frozen.convs[1].load_state_dict(source.convs[1].state_dict())
        weight = frozen.connectivity.dense(landmarks.confidence)
        hidden = frozen.act(frozen.convs[0](landmarks.x, landmarks.pos, edge_weight=weight))
        hidden = frozen.act(source.convs[1](hidden, landmarks.pos, edge_weight=weight))
        expected = frozen.convs[2](hidden, landmarks.pos, edge_weight=weight)
        assert_close(frozen(*landmarks), expected)
        assert (expected - before).abs().max() > 0.1
        # Training.
        frozen = source.frozen()
        frozen.train().eval()
        assert_close(frozen(*landmarks), source(*landmarks))


@pytest.mark.parametrize("frozen", [False, True])
def test_bad_input_at_inference(frozen: bool) -> None:
    x, pos, confidence = random_landmarks(2, K, C)
    lgcn = build(True, torch.float32).eval()
    lgcn = lgcn.frozen() if frozen else lgcn
    with torch.no_grad():
        with pytest.raises(InputError, match=r"'x' to have shape \[B, K, C\] with C=5 \(got \[2, 6, 3\]\)"):
            lgcn(x[..., :3], pos, confidence)
        with pytest.raises(InputError, match=r"'pos' to have shape \[B, K, 2\] with B=2, K=6 \(got \[1, 6, 2\]\)"):
            lgcn(x, pos[:1], confidence)
        with pytest.raises(InputError, match=r"'confidence' to have shape \[B, K\] with B=2, K=6 \(got \[6\]\)"):
            lgcn(x, pos, confidence[0])
        with pytest.raises(InputError, match=r"'confidence' to have shape \[B, K\] with K=6 \(got \[2, 4\]\)"):
            lgcn(*(each[:, :4] for each in (x, pos, confidence)))
        with pytest.raises(InputError, match=r"'confidence' to be finite \(got nan at \[1, 2\]\)"):
            lgcn(x, pos, torch.where(torch.arange(2 * K).view(2, K) == K + 2, torch.nan, confidence))
        with pytest.raises(InputError, match=r"Expected 'confidence' to hold floating-point numbers"):
            lgcn(x, pos, confidence.long())
        with pytest.raises(InputError, match=r"Expected 'pos'"):
            lgcn(x, confidence=confidence)


def test_frozen_is_a_copy_that_stays() -> None:
    landmarks = random_landmarks(2, K, C, torch.float64)
    for dense in (True, False):
        lgcn = build(dense, norm="layer_norm").eval()
        expected = run(lgcn, landmarks)
        frozen = lgcn.frozen()
        randomize(lgcn)
        assert_close(run(frozen, landmarks), expected)
