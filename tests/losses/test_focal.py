import math

import pytest
import torch
from torch import Tensor

from lgcn.checks import InputError
from lgcn.losses import focal_heatmap_loss


def make_case(
    B: int = 2, K: int = 3, h: int = 5, w: int = 6, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Logits, and Gaussian targets centred on cells."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(B, K, h, w, generator=generator, dtype=dtype)
    x = torch.randint(w, (B, K, 1, 1), generator=generator)
    y = torch.randint(h, (B, K, 1, 1), generator=generator)
    squared = (torch.arange(w) - x) ** 2 + (torch.arange(h)[:, None] - y) ** 2
    return logits, (-squared.to(dtype) / (2 * 1.5**2)).exp()


def literal_eq_8(values: Tensor, target: Tensor, alpha: float, beta: float, N: int) -> float:
    """Eq. 8 cell by cell."""
    total = 0.0
    for p, Y in zip(values.flatten().tolist(), target.flatten().tolist(), strict=True):
        if Y == 1:
            total += (1 - p) ** alpha * math.log(p)
        else:
            total += (1 - Y) ** beta * p**alpha * math.log(1 - p)
    return -total / N


@pytest.mark.parametrize(("alpha", "beta"), [(2.0, 4.0), (1.5, 3.0)])
def test_focal_is_eq_8_cell_by_cell(alpha: float, beta: float) -> None:
    logits, target = make_case()
    expected = literal_eq_8(logits.sigmoid(), target, alpha, beta, N=6)
    assert focal_heatmap_loss(logits, target, alpha=alpha, beta=beta).item() == pytest.approx(expected, rel=1e-12)
    from_values = focal_heatmap_loss(logits.sigmoid(), target, alpha=alpha, beta=beta, from_logits=False)
    assert from_values.item() == pytest.approx(expected, rel=1e-12)


def test_focal_by_hand() -> None:
    # One centre predicted 0.5, one neighbour with Y = 0.5 predicted 0.5.
    logits, target = torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 0.5]]]])
    expected = 0.25 * math.log(2) + 0.5**4 * 0.25 * math.log(2)
    assert focal_heatmap_loss(logits, target).item() == pytest.approx(expected)


def test_focal_is_the_mean_over_landmarks_that_count() -> None:
    logits, target = make_case()
    weight = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    each = [focal_heatmap_loss(logits[b : b + 1, k : k + 1], target[b : b + 1, k : k + 1]) for b, k in weight.nonzero()]
    torch.testing.assert_close(focal_heatmap_loss(logits, target, weight), torch.stack(each).mean())


def test_focal_masked_landmarks_have_no_gradient() -> None:
    logits, target = make_case()
    logits.requires_grad_()
    weight = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    focal_heatmap_loss(logits, target, weight).backward()
    moved = logits.grad.abs().flatten(2).sum(-1) > 0
    assert torch.equal(moved, weight > 0)


@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize(("shape", "weight"), [((0, 3, 4, 4), None), ((2, 3, 4, 4), 0.0)])
def test_focal_of_nothing_is_zero_with_a_gradient(
    shape: tuple[int, ...], weight: float | None, from_logits: bool
) -> None:
    logits = torch.randn(shape, requires_grad=True)
    mask = None if weight is None else torch.full(shape[:2], weight)
    loss = focal_heatmap_loss(logits, torch.zeros(shape), mask, from_logits=from_logits)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros(shape))


def test_focal_without_a_centre_is_not_divided() -> None:
    logits, target = make_case()
    target = 0.9 * target
    expected = literal_eq_8(logits.sigmoid(), target, 2.0, 4.0, N=1)
    assert focal_heatmap_loss(logits, target).item() == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("from_logits", [True, False])
def test_focal_in_half_precision_is_finite_and_float32(dtype: torch.dtype, from_logits: bool) -> None:
    logits, target = make_case(dtype=torch.float32)
    logits = (logits * 40).to(dtype).requires_grad_()  # saturated: sigmoid is exactly 0 or 1
    loss = focal_heatmap_loss(logits, target.to(dtype), from_logits=from_logits)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite() and logits.grad.isfinite().all()


def test_focal_from_logits_keeps_the_gradient_of_saturated_cells() -> None:
    logits = torch.tensor([[[[-40.0, 40.0]]]], requires_grad=True)
    focal_heatmap_loss(logits, torch.tensor([[[[1.0, 0.0]]]])).backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[[[-1.0, 1.0]]]]))


def test_focal_gradcheck() -> None:
    logits, target = make_case(B=1, K=2, h=3, w=3)
    weight = torch.tensor([[1.0, 0.5]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: focal_heatmap_loss(x, target, weight), logits.requires_grad_())


def test_focal_says_which_shape_is_wrong() -> None:
    with pytest.raises(InputError, match="'target'.*B, K, h, w.*got"):
        focal_heatmap_loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 5))
    with pytest.raises(InputError, match="'weight'.*B, K"):
        focal_heatmap_loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4), torch.ones(2, 2))
