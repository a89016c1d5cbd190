"""Predicted covariances against true errors: regions of a given probability."""

import math

import torch
from torch import Tensor

from lgcn.checks import InputError, check_number, check_shape, check_values


def squared_mahalanobis(errors: Tensor, covariance: Tensor) -> Tensor:
    r"""Errors in units of their predicted deviation, :math:`e^T \Sigma^{-1} e`; the same in any affine frame.

    Args:
        errors: [..., 2], vectors.
        covariance: [..., 2, 2], predicted, in squares of the same unit.

    Returns:
        [...]; infinite for an error that a singular covariance excludes, and for one that is not finite.
    """
    check_shape("errors", errors, "... 2")
    check_shape("covariance", covariance, "... 2 2")
    check_values(errors, errors=errors, covariance=covariance)
    x, y = errors.unbind(-1)
    xx, xy, yy = covariance[..., 0, 0], covariance[..., 0, 1], covariance[..., 1, 1]
    determinant = (xx * yy - xy.square()).clamp_min(0)
    found = (yy * x.square() - 2 * xy * x * y + xx * y.square()) / determinant
    found = found.where(determinant > 0, torch.inf)
    return found.masked_fill((errors == 0).all(dim=-1), 0.0).nan_to_num(nan=torch.inf, posinf=torch.inf)


def region_limit(level: float) -> float:
    """Squared Mahalanobis distance within which a normal error in the plane lies with probability ``level``.

    >>> round(region_limit(0.9), 3)
    4.605
    """
    if not 0 < check_number("level", level) < 1:
        raise InputError(f"Expected 'level' to be a probability between 0 and 1 (got {level}).")
    return -2 * math.log(1 - level)
