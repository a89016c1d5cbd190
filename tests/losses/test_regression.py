import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lgcn.checks import InputError
from lgcn.losses import adaptive_wing_loss, heatmap_mse_loss

LOSSES = [heatmap_mse_loss, adaptive_wing_loss]


def make_case(
    B: int = 2, K: int = 3, h: int = 5, w: int = 6, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Logits, and Gaussian targets centred anywhere."""
    logits = 3 * torch.randn(B, K, h, w, dtype=dtype)
    x, y = w * torch.rand(B, K, 1, 1), h * torch.rand(B, K, 1, 1)
    squared = (torch.arange(w) - x) ** 2 + (torch.arange(h)[:, None] - y) ** 2
    return logits, (-squared.to(dtype) / 2).exp()


def literal_awing(values: Tensor, target: Tensor, alpha: float, omega: float, epsilon: float, theta: float) -> Tensor:
    """Wang et al. 2019, eq. 3, cell by cell."""
    total = []
    for p, y in zip(values.flatten().tolist(), target.flatten().tolist(), strict=True):
        power = alpha - y
        if abs(y - p) < theta:
            total.append(omega * math.log(1 + abs((y - p) / epsilon) ** power))
        else:
            A = omega * (1 / (1 + (theta / epsilon) ** power)) * power * (theta / epsilon) ** (power - 1) / epsilon
            C = theta * A - omega * math.log(1 + (theta / epsilon) ** power)
            total.append(A * abs(y - p) - C)
    return torch.tensor(total, dtype=values.dtype).view_as(values)


def literal_foreground(target: Tensor) -> Tensor:
    """Section 5.2: 1 where the 3 x 3 dilation of the target is 0.2 or more."""
    B, K, h, w = target.shape
    mask = torch.zeros_like(target)
    for b in range(B):
        for k in range(K):
            for i in range(h):
                for j in range(w):
                    around = target[b, k, max(0, i - 1) : i + 2, max(0, j - 1) : j + 2]
                    mask[b, k, i, j] = float(around.max() >= 0.2)
    return mask


def test_mse_is_torchs() -> None:
    logits, target = make_case()
    torch.testing.assert_close(heatmap_mse_loss(logits, target), torch.nn.functional.mse_loss(logits.sigmoid(), target))
    torch.testing.assert_close(
        heatmap_mse_loss(logits, target, from_logits=False), torch.nn.functional.mse_loss(logits, target)
    )


def test_mse_by_hand() -> None:
    loss = heatmap_mse_loss(torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 0.25]]]]))
    assert loss.item() == pytest.approx((0.5**2 + 0.25**2) / 2)


@pytest.mark.parametrize("options", [(2.1, 14.0, 1.0, 0.5), (2.5, 7.0, 0.5, 0.25)])
def test_adaptive_wing_is_the_paper_cell_by_cell(options: tuple[float, float, float, float]) -> None:
    logits, target = make_case()
    each = literal_awing(logits.sigmoid(), target, *options)
    plain = adaptive_wing_loss(logits, target, None, *options, foreground_weight=0.0)
    torch.testing.assert_close(plain, each.mean())
    mask = literal_foreground(target)
    assert 0 < mask.mean() < 1
    weighted = adaptive_wing_loss(logits, target, None, *options, foreground_weight=3.0)
    torch.testing.assert_close(weighted, (each * (1 + 3 * mask)).mean())
    if options == (2.1, 14.0, 1.0, 0.5):  # the paper's
        torch.testing.assert_close(adaptive_wing_loss(logits, target), (each * (1 + 10 * mask)).mean())


def test_adaptive_wing_by_hand() -> None:
    # Background far from anything: y = 0, an error of 0.25 is on the curve, one of 1 beyond it.
    values = torch.tensor([[[[0.25, 1.0]]]])
    curve = 14 * math.log(1 + 0.25**2.1)
    A = 14 * 2.1 * 0.5**1.1 / (1 + 0.5**2.1)
    line = A * 1 - (0.5 * A - 14 * math.log(1 + 0.5**2.1))
    loss = adaptive_wing_loss(values, torch.zeros(1, 1, 1, 2), from_logits=False)
    assert loss.item() == pytest.approx((curve + line) / 2)


@pytest.mark.parametrize("y", [0.0, 0.5, 1.0])
def test_adaptive_wing_joins_its_two_pieces_smoothly(y: float) -> None:
    target = torch.full((1, 1, 1, 1), y, dtype=torch.float64)
    values = [target + 0.5 + step for step in (-1e-7, 1e-7)]
    losses, slopes = [], []
    for value in values:
        value.requires_grad_()
        losses.append(adaptive_wing_loss(value, target, from_logits=False))
        slopes.append(torch.autograd.grad(losses[-1], value)[0])
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_perfect_map_costs_nothing_and_has_no_gradient(loss: Callable[..., Tensor]) -> None:
    _, target = make_case()
    values = target.clone().requires_grad_()
    value = loss(values, target, from_logits=False)
    value.backward()
    assert value.item() == 0
    assert values.grad.abs().max() == 0


@pytest.mark.parametrize("loss", LOSSES)
def test_the_mean_is_over_landmarks_that_count(loss: Callable[..., Tensor]) -> None:
    logits, target = make_case()
    logits.requires_grad_()
    weight = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    each = [loss(logits[b : b + 1, k : k + 1], target[b : b + 1, k : k + 1]) for b, k in weight.nonzero()]
    value = loss(logits, target, weight)
    torch.testing.assert_close(value, torch.stack(each).mean())
    value.backward()
    assert torch.equal(logits.grad.abs().flatten(2).sum(-1) > 0, weight > 0)
    halves = loss(logits, target, torch.tensor([[1.0, 0.0, 0.5], [0.0, 0.0, 0.0]]))
    torch.testing.assert_close(halves, (each[0] + 0.5 * each[1]) / 1.5)


@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize(("shape", "weight"), [((0, 3, 4, 4), None), ((2, 3, 4, 4), 0.0)])
@pytest.mark.parametrize("loss", LOSSES)
def test_without_landmarks_the_loss_is_zero_and_has_a_gradient(
    loss: Callable[..., Tensor], shape: tuple[int, ...], weight: float | None, from_logits: bool
) -> None:
    logits = torch.randn(shape, requires_grad=True)
    mask = None if weight is None else torch.full(shape[:2], weight)
    value = loss(logits, torch.zeros(shape), mask, from_logits=from_logits)
    value.backward()
    assert value.item() == 0
    assert torch.equal(logits.grad, torch.zeros(shape))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_is_computed_in_float32(
    loss: Callable[..., Tensor], dtype: torch.dtype, from_logits: bool
) -> None:
    logits, target = make_case(dtype=torch.float32)
    half, target = (40 * logits).to(dtype).requires_grad_(), target.to(dtype)  # saturated: the sigmoid is 0 or 1
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(half, target, from_logits=from_logits)
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite() and half.grad.isfinite().all()
    torch.testing.assert_close(value, loss(half.detach().float(), target.float(), from_logits=from_logits))


@pytest.mark.parametrize("size", [1e-30, 100.0, 1e4])
@pytest.mark.parametrize("loss", LOSSES)
def test_saturated_logits_have_finite_gradients(loss: Callable[..., Tensor], size: float) -> None:
    logits = torch.tensor([[[[-size, size, -size, size, 0.0]]]], requires_grad=True)
    value = loss(logits, torch.tensor([[[[1.0, 0.0, 0.0, 1.0, 0.5]]]]))
    value.backward()
    assert value.isfinite() and logits.grad.isfinite().all()


@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("loss", LOSSES)
def test_gradcheck(loss: Callable[..., Tensor], from_logits: bool) -> None:
    logits, target = make_case(B=1, K=2, h=3, w=3)
    weight = torch.tensor([[1.0, 0.5]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: loss(x, target, weight, from_logits=from_logits), logits.requires_grad_())


@pytest.mark.parametrize("loss", LOSSES)
def test_shapes_are_checked(loss: Callable[..., Tensor]) -> None:
    with pytest.raises(InputError, match="'logits'.*B, K, h, w.*got"):
        loss(torch.zeros(2, 4, 4), torch.zeros(2, 4, 4))
    with pytest.raises(InputError, match="'target'.*B, K, h, w.*got"):
        loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 5))
    with pytest.raises(InputError, match="'weight'.*B, K"):
        loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4), torch.ones(2, 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 2.0}, "'alpha' to be slightly more than 2.*got 2.0"),
        ({"omega": 0.0}, "'omega' to be a positive number .got 0.0"),
        ({"epsilon": math.nan}, "'epsilon' to be a positive number .got nan"),
        ({"theta": "half"}, "'theta' to be a positive number .got 'half'"),
        ({"foreground_weight": -1.0}, "'foreground_weight' to be 0 or more .got -1.0"),
    ],
)
def test_options_of_adaptive_wing_are_checked(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        adaptive_wing_loss(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), **options)
