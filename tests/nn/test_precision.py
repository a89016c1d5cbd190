"""Layers in bfloat16 and under autocast: right types, finite, and close to single precision."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from lgcn.nn import CONNECTIVITIES, LGCN, Connectivity, DenseLGCNConv, LearnableConnectivity, LGCNConv
from tests.nn.inputs import build_connectivity, random_landmarks, randomize

K, C = 6, 4
every_connectivity = pytest.mark.parametrize("name", CONNECTIVITIES.names())
both_forms = pytest.mark.parametrize("dense", [True, False])
TRAINED = [(name, dense) for name in CONNECTIVITIES.names() for dense in (True, False)]


def stack(name: str, dense: bool, **options: Any) -> LGCN:
    return randomize(LGCN(C, [8, 2], build_connectivity(name, K), dense=dense, **options))


def inputs(dense: bool) -> tuple[Tensor, ...]:
    landmarks = random_landmarks(2, K, C)
    batch = landmarks.graph()
    return tuple(landmarks) if dense else (batch.x, batch.pos, batch.confidence, batch.edge_index, batch.landmark_id)


def halved(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(tensor.bfloat16() if tensor.is_floating_point() else tensor for tensor in tensors)


def assert_near(actual: Tensor, expected: Tensor) -> None:
    """To a few times the 1/256 that bfloat16 rounds by, of the largest value."""
    assert actual.isfinite().all()
    difference = (actual.float() - expected.float()).abs().max()
    assert difference < 0.03 * max(1.0, float(expected.detach().abs().max())), float(difference)


@pytest.mark.parametrize("norm", [None, "batch_norm", "layer_norm"])
@every_connectivity
@both_forms
def test_a_module_of_bfloat16(dense: bool, name: str, norm: str | None) -> None:
    lgcn, tensors = stack(name, dense, norm=norm), inputs(dense)
    half = copy.deepcopy(lgcn).to(torch.bfloat16)
    out, weight = half(*halved(tensors), return_connectivity=True)
    assert out.dtype == weight.dtype == torch.bfloat16
    expected, expected_weight = lgcn(*tensors, return_connectivity=True)
    assert_near(out, expected)
    assert_near(weight, expected_weight)
    out.float().square().sum().backward()
    for parameter in half.parameters():
        assert parameter.grad.dtype == torch.bfloat16 and parameter.grad.isfinite().all()


@every_connectivity
@both_forms
def test_frozen_before_or_after_it_becomes_bfloat16(dense: bool, name: str) -> None:
    lgcn, tensors = stack(name, dense).eval(), inputs(dense)
    expected = lgcn(*tensors)
    for half in (lgcn.frozen().bfloat16(), copy.deepcopy(lgcn).bfloat16().frozen()):
        out = half(*halved(tensors))
        assert out.dtype == torch.bfloat16
        assert_near(out, expected)


@pytest.mark.parametrize(("name", "dense"), TRAINED)
def test_training_under_autocast(name: str, dense: bool) -> None:
    lgcn, tensors = stack(name, dense), inputs(dense)
    expected, expected_weight = lgcn(*tensors, return_connectivity=True)
    gradients = torch.autograd.grad(expected.square().sum(), list(lgcn.parameters()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, weight = lgcn(*tensors, return_connectivity=True)
    assert {out.dtype, weight.dtype} <= {torch.bfloat16, torch.float32}
    assert_near(out, expected)
    assert_near(weight, expected_weight)
    mine = torch.autograd.grad(out.float().square().sum(), list(lgcn.parameters()))
    assert all(gradient.dtype == torch.float32 and gradient.isfinite().all() for gradient in mine)
    # A unit that rounding moves over zero loses or gains its gradient: the direction is what must agree.
    one, other = (torch.cat([gradient.flatten() for gradient in each]) for each in (mine, gradients))
    assert torch.cosine_similarity(one, other, dim=0) > 0.95


@pytest.mark.parametrize("frozen", [True, False])
@every_connectivity
@both_forms
def test_inference_under_autocast(dense: bool, name: str, frozen: bool) -> None:
    lgcn, tensors = stack(name, dense).eval(), inputs(dense)
    lgcn = lgcn.frozen() if frozen else lgcn
    with torch.no_grad():
        expected = lgcn(*tensors)
        for given in (tensors, halved(tensors)):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                assert_near(lgcn(*given), expected)
        assert torch.equal(lgcn(*tensors), expected)


@pytest.mark.parametrize("frozen", [True, False])
def test_what_autocast_rounds_does_not_stay(frozen: bool) -> None:
    connectivity: Connectivity = randomize(LearnableConnectivity(K)).eval()
    confidence = torch.rand(2, K)
    with torch.no_grad():
        expected = copy.deepcopy(connectivity).dense(confidence)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            connectivity = connectivity.frozen() if frozen else connectivity
            connectivity.dense(confidence)  # the first call, whose table is kept
        after = connectivity.dense(confidence)
    torch.testing.assert_close(after, expected, rtol=0, atol=1e-6)


@both_forms
def test_batch_norm_over_a_mask_in_training_under_autocast(dense: bool) -> None:
    lgcn, tensors = stack("learnable", dense, norm="batch_norm"), inputs(dense)
    there = torch.ones(2, K, dtype=torch.bool)
    there[0, 2] = there[1, 4] = False
    there = there if dense else there.flatten()
    exact = copy.deepcopy(lgcn)
    expected = exact(*tensors, mask=there)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = lgcn(*tensors, mask=there)
    assert_near(out, expected)
    for name, buffer in lgcn.named_buffers():
        if "running" in name:
            assert_near(buffer, exact.get_buffer(name))
    out.float().square().sum().backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in lgcn.parameters())


def bare(dense: bool) -> DenseLGCNConv | LGCNConv:
    return randomize((DenseLGCNConv if dense else LGCNConv)(C, 8, LearnableConnectivity(K)))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("grad", [False, True])
@both_forms
def test_autocast_rounds_no_position(dense: bool, grad: bool, masked: bool) -> None:
    lgcn, conv = stack("learnable", dense), bare(dense)
    x, pos, confidence, *where = inputs(dense)
    # Faces of 50 pixels, far from the origin and from each other; what is rounded is rounded at the origin too.
    far = 50 * pos + torch.tensor([1000.0, 4000.0]).view(2, 1, 1).expand(2, K, 2).reshape_as(pos)
    near = far - far.floor().view(2, -1).amin(dim=1).view(2, 1, 1).expand(2, K, 2).reshape_as(pos)
    mask = (torch.rand(confidence.shape) < 0.7) if masked else None
    with torch.set_grad_enabled(grad), torch.autocast("cpu", dtype=torch.bfloat16):
        for pos in (near, far):
            ends = (
                lgcn(x, pos, confidence, *where, mask=mask),
                (
                    conv(x, pos, confidence, mask=mask)
                    if dense
                    else conv(x, where[0], pos, where[1], confidence, mask=mask)
                ),
            )
            if pos is near:
                expected = ends
    for one, other in zip(ends, expected, strict=True):
        scale = float(other.detach().abs().max())
        assert (one.float() - other.float()).abs().max() < 0.005 * scale
