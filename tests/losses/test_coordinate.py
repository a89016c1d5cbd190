import pytest
import torch

from lgcn.checks import InputError
from lgcn.losses import l1_loss


def test_l1_by_hand() -> None:
    preds = torch.tensor([[[1.0, 2.0], [0.0, 0.0]]])
    target = torch.tensor([[[0.0, 4.0], [0.0, -0.5]]])
    assert l1_loss(preds, target).item() == pytest.approx((1 + 2 + 0 + 0.5) / 2)


def test_l1_is_twice_torchs() -> None:
    preds, target = torch.rand(2, 4, 5, 2)
    torch.testing.assert_close(l1_loss(preds, target), 2 * torch.nn.functional.l1_loss(preds, target))


def test_l1_leaves_missing_landmarks_out_even_if_nan() -> None:
    preds = torch.rand(2, 3, 2, requires_grad=True)
    target = torch.rand(2, 3, 2)
    weight = torch.tensor([[1, 0, 1], [0, 0, 1]])
    expected = (preds - target).abs().sum(-1)[weight > 0].mean()
    target[weight == 0] = torch.nan
    loss = l1_loss(preds, target, weight)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert torch.equal(preds.grad.abs().sum(-1) > 0, weight > 0)
    assert preds.grad.isfinite().all()


@pytest.mark.parametrize("shape", [(0, 3, 2), (2, 3, 2)])
def test_l1_of_nothing_is_zero_with_a_gradient(shape: tuple[int, ...]) -> None:
    preds = torch.rand(shape, requires_grad=True)
    loss = l1_loss(preds, torch.full(shape, torch.nan), torch.zeros(shape[:2]))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(preds.grad, torch.zeros(shape))


def test_l1_in_half_precision_adds_up_in_float32() -> None:
    preds, target = torch.full((64, 68, 2), 100.0, dtype=torch.float16), torch.zeros(64, 68, 2, dtype=torch.float16)
    assert l1_loss(preds, target).item() == pytest.approx(200)  # the plain sum is beyond float16


def test_l1_gradcheck() -> None:
    preds, target = torch.rand(2, 2, 3, 2, dtype=torch.float64)
    weight = torch.tensor([[1.0, 0.0, 0.5], [1.0, 1.0, 0.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: l1_loss(x, target, weight), preds.requires_grad_())


def test_l1_says_which_shape_is_wrong() -> None:
    with pytest.raises(InputError, match="'preds'.*B, K, 2"):
        l1_loss(torch.zeros(3, 2), torch.zeros(3, 2))
    with pytest.raises(InputError, match="'target'.*B=1, K=3"):
        l1_loss(torch.zeros(1, 3, 2), torch.zeros(1, 4, 2))
