import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lgcn.checks import InputError
from lgcn.losses import coordinate_loss, l1_loss, smooth_l1_loss, wing_loss

LOSSES = [l1_loss, smooth_l1_loss, wing_loss]


def of_errors(loss: Callable[..., Tensor], *errors: float, **options: float) -> float:
    """The loss of one landmark for each pair of errors."""
    preds = torch.tensor(errors, dtype=torch.float64).view(1, -1, 2)
    return loss(preds, torch.zeros_like(preds), **options).item()


def test_l1_by_hand() -> None:
    preds = torch.tensor([[[1.0, 2.0], [0.0, 0.0]]])
    target = torch.tensor([[[0.0, 4.0], [0.0, -0.5]]])
    assert l1_loss(preds, target).item() == pytest.approx((1 + 2 + 0 + 0.5) / 2)


def test_smooth_l1_by_hand() -> None:
    assert of_errors(smooth_l1_loss, 0.5, -3.0, 0.0, 1.0) == pytest.approx((0.125 + 2.5 + 0 + 0.5) / 2)
    assert of_errors(smooth_l1_loss, 0.5, -3.0, beta=2.0) == pytest.approx(0.25 / 4 + 2.0)


def test_wing_by_hand() -> None:
    # Feng et al. 2018, eq. 5, with their w = 10 and epsilon = 2.
    C = 10 - 10 * math.log(1 + 10 / 2)
    curve = 10 * math.log(1 + 4 / 2)
    assert of_errors(wing_loss, -4.0, 30.0, 0.0, 10.0) == pytest.approx((curve + 30 - C + 10 - C) / 2)
    C = 3 - 3 * math.log(1 + 3 / 0.5)
    assert of_errors(wing_loss, 1.0, -8.0, width=3.0, epsilon=0.5) == pytest.approx(3 * math.log(3) + 8 - C)


@pytest.mark.parametrize(("loss", "bend"), [(smooth_l1_loss, 1.0), (wing_loss, 10.0)])
def test_the_two_pieces_meet(loss: Callable[..., Tensor], bend: float) -> None:
    below, above = of_errors(loss, bend - 1e-9, 0.0), of_errors(loss, bend + 1e-9, 0.0)
    assert above == pytest.approx(below, abs=1e-7)


def test_the_gradient_of_wing_grows_towards_small_errors() -> None:
    preds = torch.tensor([[[0.5, 5.0], [9.9, 50.0]]], requires_grad=True)
    wing_loss(preds, torch.zeros(1, 2, 2)).backward()
    torch.testing.assert_close(2 * preds.grad.flatten(), torch.tensor([10 / 2.5, 10 / 7, 10 / 11.9, 1.0]))


@pytest.mark.parametrize(
    ("loss", "torchs"),
    [(l1_loss, torch.nn.functional.l1_loss), (smooth_l1_loss, torch.nn.functional.smooth_l1_loss)],
)
def test_they_are_twice_torchs(loss: Callable[..., Tensor], torchs: Callable[..., Tensor]) -> None:
    preds, target = 3 * torch.rand(2, 4, 5, 2)
    torch.testing.assert_close(loss(preds, target), 2 * torchs(preds, target))


@pytest.mark.parametrize("loss", LOSSES)
def test_missing_landmarks_are_left_out_even_if_nan(loss: Callable[..., Tensor]) -> None:
    preds = (20 * torch.rand(2, 3, 2)).requires_grad_()
    target = torch.rand(2, 3, 2)
    weight = torch.tensor([[1, 0, 1], [0, 0, 1]])
    expected = torch.stack([loss(preds[b, None, k, None], target[b, None, k, None]) for b, k in weight.nonzero()])
    target[weight == 0] = torch.nan
    value = loss(preds, target, weight)
    torch.testing.assert_close(value, expected.mean())
    value.backward()
    assert torch.equal(preds.grad.abs().sum(-1) > 0, weight > 0)
    assert preds.grad.isfinite().all()


@pytest.mark.parametrize("shape", [(0, 3, 2), (2, 3, 2)])
@pytest.mark.parametrize("loss", LOSSES)
def test_without_landmarks_the_loss_is_zero_and_has_a_gradient(
    loss: Callable[..., Tensor], shape: tuple[int, ...]
) -> None:
    preds = torch.rand(shape, requires_grad=True)
    value = loss(preds, torch.full(shape, torch.nan), torch.zeros(shape[:2]))
    value.backward()
    assert value.item() == 0
    assert torch.equal(preds.grad, torch.zeros(shape))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_adds_up_in_float32(loss: Callable[..., Tensor], dtype: torch.dtype) -> None:
    preds, target = torch.full((64, 68, 2), 100.0, dtype=dtype), torch.zeros(64, 68, 2, dtype=dtype)
    value = loss(preds.requires_grad_(), target)  # the plain sum is beyond float16
    value.backward()
    assert value.dtype == torch.float32
    assert preds.grad.isfinite().all()
    torch.testing.assert_close(value, loss(preds.float(), target.float()))


@pytest.mark.parametrize("loss", LOSSES)
def test_no_error_has_a_finite_gradient(loss: Callable[..., Tensor]) -> None:
    preds = torch.zeros(1, 2, 2, requires_grad=True)
    loss(preds, torch.zeros(1, 2, 2)).backward()
    assert torch.equal(preds.grad, torch.zeros(1, 2, 2))


@pytest.mark.parametrize("loss", LOSSES)
def test_gradcheck(loss: Callable[..., Tensor]) -> None:
    preds, target = 30 * torch.rand(2, 2, 3, 2, dtype=torch.float64)
    weight = torch.tensor([[1.0, 0.0, 0.5], [1.0, 1.0, 0.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: loss(x, target, weight), preds.requires_grad_())


def test_any_penalty_in_any_unit() -> None:
    preds, target = torch.rand(2, 3, 4, 2)
    unit = torch.tensor([4.0, 2.0])
    value = coordinate_loss(torch.square, preds, target, unit=unit)
    torch.testing.assert_close(value, ((preds - target).square() / unit).sum(-1).mean())


@pytest.mark.parametrize("loss", LOSSES)
def test_shapes_are_checked(loss: Callable[..., Tensor]) -> None:
    with pytest.raises(InputError, match="'preds'.*B, K, 2"):
        loss(torch.zeros(3, 2), torch.zeros(3, 2))
    with pytest.raises(InputError, match="'target'.*B=1, K=3"):
        loss(torch.zeros(1, 3, 2), torch.zeros(1, 4, 2))
    with pytest.raises(InputError, match="'weight'.*B, K"):
        loss(torch.zeros(1, 3, 2), torch.zeros(1, 3, 2), torch.ones(3))


@pytest.mark.parametrize(("loss", "option"), [(smooth_l1_loss, "beta"), (wing_loss, "width"), (wing_loss, "epsilon")])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, "1", True])
def test_lengths_are_positive(loss: Callable[..., Tensor], option: str, value: float) -> None:
    with pytest.raises(InputError, match=f"'{option}' to be a positive number .got"):
        loss(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2), **{option: value})
