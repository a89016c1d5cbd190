import math

import pytest
import torch

from lgcn.checks import InputError
from lgcn.losses import gaussian_nll_loss


def spd(*shape: int) -> torch.Tensor:
    root = torch.randn(*shape, 2, 2, dtype=torch.double)
    return root @ root.mT + 0.5 * torch.eye(2)


def test_equals_the_density_of_torch_distributions() -> None:
    torch.manual_seed(0)
    preds, target, covariance = torch.randn(3, 5, 2).double(), torch.randn(3, 5, 2).double(), spd(3, 5)
    density = torch.distributions.MultivariateNormal(target, covariance).log_prob(preds)
    torch.testing.assert_close(gaussian_nll_loss(preds, target, covariance, eps=0), -density.mean())
    weight = torch.rand(3, 5).double()
    expected = -(weight * density).sum() / weight.sum()
    torch.testing.assert_close(gaussian_nll_loss(preds, target, covariance, weight, eps=0), expected)


def test_is_smallest_at_the_covariance_of_the_errors() -> None:
    torch.manual_seed(0)
    errors = torch.randn(1, 4000, 2) @ torch.tensor([[2.0, 0.5], [0.0, 1.0]])
    found = (errors[0].mT @ errors[0] / 4000).expand(1, 4000, 2, 2)
    least = gaussian_nll_loss(errors, torch.zeros_like(errors), found)
    for other in (0.9 * found, 1.1 * found, found + 0.1, torch.diag_embed(found.diagonal(dim1=-2, dim2=-1))):
        assert gaussian_nll_loss(errors, torch.zeros_like(errors), other) > least


def test_landmarks_that_do_not_count() -> None:
    preds, covariance = torch.ones(1, 2, 2, requires_grad=True), torch.eye(2).repeat(1, 2, 1, 1).requires_grad_()
    target = torch.tensor([[[0.0, 1.0], [math.nan, math.nan]]])
    spoilt = torch.where(torch.tensor([False, True])[:, None, None], torch.nan, covariance)
    loss = gaussian_nll_loss(preds, target, spoilt, torch.tensor([[1.0, 0.0]]), eps=0)
    loss.backward()
    torch.testing.assert_close(loss.item(), 0.5 + math.log(2 * math.pi))
    assert preds.grad.isfinite().all() and covariance.grad.isfinite().all()
    assert gaussian_nll_loss(preds, target, covariance, torch.zeros(1, 2)).item() == 0


def test_gradients_half_precision_and_singular_covariances() -> None:
    torch.manual_seed(0)
    preds, target, covariance = torch.randn(2, 3, 2).double(), torch.randn(2, 3, 2).double(), spd(2, 3)
    assert torch.autograd.gradcheck(gaussian_nll_loss, (preds.requires_grad_(), target, covariance.requires_grad_()))
    half = gaussian_nll_loss(preds.half(), target.half(), covariance.half())
    assert half.dtype == torch.float32
    assert gaussian_nll_loss(preds, target, torch.zeros_like(covariance)).isfinite()


def test_large_singular_covariances_have_a_likelihood() -> None:
    """In single precision 1e4 + 1e-4 is 1e4."""
    torch.manual_seed(0)
    direction = torch.randn(1, 500, 2, 1)
    for size in (1.0, 1e4, 1e6):
        covariance = (size * direction @ direction.mT).requires_grad_()
        loss = gaussian_nll_loss(direction.squeeze(-1), torch.zeros(1, 500, 2), covariance)
        loss.backward()
        assert loss.isfinite() and covariance.grad.isfinite().all()


def test_bad_input() -> None:
    preds, covariance = torch.zeros(2, 3, 2), torch.eye(2).expand(2, 3, 2, 2)
    with pytest.raises(InputError, match=r"'covariance' to have shape \[B, K, 2, 2\] with B=2, K=3"):
        gaussian_nll_loss(preds, preds, covariance[:, :2])
    with pytest.raises(InputError, match="'target' to have shape"):
        gaussian_nll_loss(preds, preds[:1], covariance)
