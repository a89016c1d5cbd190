import math

import numpy as np
import pytest
import torch
from scipy.special import ellipe

from lgcn.checks import InputError
from lgcn.covariance import ellipse_axes, expected_error, region_limit, squared_mahalanobis

COVARIANCE = torch.tensor([[[4.0, 1.0], [1.0, 2.0]], [[9.0, 0.0], [0.0, 9.0]], [[1.0, 0.0], [0.0, 0.0]]]).double()


def test_the_expected_error_is_the_mean_length_of_normal_errors() -> None:
    """The exact value is a complete elliptic integral of the second kind."""
    smaller, larger = np.linalg.eigvalsh(COVARIANCE.numpy()).T
    exact = np.sqrt(2 * larger / math.pi) * ellipe(1 - smaller / larger)
    np.testing.assert_allclose(expected_error(COVARIANCE), exact, rtol=5e-4)
    assert expected_error(torch.zeros(2, 2)) == 0


def test_the_expected_error_has_a_gradient_at_equal_deviations() -> None:
    covariance = 4 * torch.eye(2, dtype=torch.float64)
    (found,) = torch.autograd.grad(expected_error(covariance.requires_grad_()), covariance)
    # Of sqrt(pi / 2 * trace / 2), which it is to first order.
    torch.testing.assert_close(found, math.sqrt(math.pi / 2) / 8 * torch.eye(2, dtype=torch.float64), rtol=1e-3, atol=0)


def test_axes_of_ellipses() -> None:
    deviations, angle = ellipse_axes(torch.tensor([[1.0, 0.0], [0.0, 9.0]]))
    assert deviations.tolist() == [3.0, 1.0] and angle.item() == pytest.approx(math.pi / 2)


def test_mahalanobis_distances_are_those_of_the_inverse_and_the_same_in_any_affine_frame() -> None:
    errors = torch.randn(50, 2, dtype=torch.float64)
    covariance = COVARIANCE[0].expand(50, 2, 2)
    found = squared_mahalanobis(errors, covariance)
    torch.testing.assert_close(found, torch.einsum("ni,nij,nj->n", errors, covariance.inverse(), errors))
    linear = torch.tensor([[2.0, 1.0], [-0.5, 3.0]]).double()
    torch.testing.assert_close(found, squared_mahalanobis(errors @ linear.T, linear @ covariance @ linear.T))


def test_normal_errors_lie_in_their_regions_as_often_as_the_level_says() -> None:
    errors = torch.randn(20000, 2, dtype=torch.float64) @ torch.linalg.cholesky(COVARIANCE[0]).T
    distances = squared_mahalanobis(errors, COVARIANCE[0].expand(20000, 2, 2))
    for level in (0.5, 0.9):
        assert (distances <= region_limit(level)).double().mean() == pytest.approx(level, abs=0.01)


def test_singular_covariances_and_errors_that_are_not_finite() -> None:
    errors = torch.tensor([[0.0, 0.0], [1.0, 0.0], [math.inf, 0.0]])
    assert squared_mahalanobis(errors, torch.zeros(3, 2, 2)).tolist() == [0.0, math.inf, math.inf]
    assert squared_mahalanobis(errors, torch.eye(2).expand(3, 2, 2)).tolist() == [0.0, 1.0, math.inf]


def test_bad_levels() -> None:
    for level in (0, 1, 90):
        with pytest.raises(InputError, match="'level' to be a probability"):
            region_limit(level)
