import math

import pytest
import torch

from lgcn.checks import InputError
from lgcn.losses import heatmap_cross_entropy


def test_cross_entropy_by_hand() -> None:
    # The target [1, 3] is [0.25, 0.75] once its sum is 1; equal logits give every cell 0.5.
    loss = heatmap_cross_entropy(torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 3.0]]]]))
    assert loss.item() == pytest.approx(math.log(2))


def test_cross_entropy_is_torchs() -> None:
    logits, target = torch.randn(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
    q = target.flatten(2) / target.flatten(2).sum(-1, keepdim=True)
    expected = torch.nn.functional.cross_entropy(logits.flatten(2).flatten(0, 1), q.flatten(0, 1))
    torch.testing.assert_close(heatmap_cross_entropy(logits, target), expected)


def test_cross_entropy_is_least_at_the_target() -> None:
    target = torch.rand(1, 1, 4, 4) + 0.1
    at_target = heatmap_cross_entropy(target.log(), target)
    q = target / target.sum()
    torch.testing.assert_close(at_target, -(q * q.log()).sum())
    assert heatmap_cross_entropy(target.log() + 0.1 * torch.randn(1, 1, 4, 4), target) > at_target


def test_cross_entropy_leaves_out_masked_and_empty_landmarks() -> None:
    logits, target = torch.randn(1, 3, 4, 4, requires_grad=True), torch.rand(1, 3, 4, 4)
    target[0, 2] = 0
    loss = heatmap_cross_entropy(logits, target, torch.tensor([[1.0, 0.0, 1.0]]))
    torch.testing.assert_close(loss, heatmap_cross_entropy(logits[:, :1], target[:, :1]))
    loss.backward()
    assert (logits.grad.flatten(2).abs().sum(-1) > 0).tolist() == [[True, False, False]]


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 3, 4, 4)])
def test_cross_entropy_of_nothing_is_zero_with_a_gradient(shape: tuple[int, ...]) -> None:
    logits = torch.randn(shape, requires_grad=True)
    loss = heatmap_cross_entropy(logits, torch.zeros(shape))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros(shape))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_cross_entropy_in_half_precision_is_finite_and_float32(dtype: torch.dtype) -> None:
    logits = (100 * torch.randn(2, 3, 64, 64)).to(dtype).requires_grad_()
    loss = heatmap_cross_entropy(logits, torch.ones(2, 3, 64, 64, dtype=dtype))
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite() and logits.grad.isfinite().all()


def test_cross_entropy_gradcheck() -> None:
    logits, target = torch.randn(1, 2, 3, 3, dtype=torch.float64), torch.rand(1, 2, 3, 3, dtype=torch.float64)
    weight = torch.tensor([[1.0, 0.5]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: heatmap_cross_entropy(x, target, weight), logits.requires_grad_())


def test_cross_entropy_says_which_shape_is_wrong() -> None:
    with pytest.raises(InputError, match="'target'"):
        heatmap_cross_entropy(torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4))
