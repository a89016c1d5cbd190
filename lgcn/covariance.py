"""Covariances in the plane: expected errors, regions of a given probability, small systems."""

import math

import torch
from torch import Tensor

from lgcn.checks import InputError, check_number, check_shape, check_values


def ellipse_axes(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Standard deviations along the axes [..., 2], larger first, and the angle [...] of the first, from x towards y."""
    xx, xy, yy = covariance[..., 0, 0], covariance[..., 0, 1], covariance[..., 1, 1]
    # ONNX has no hypot. Of a circle, ``square`` is 0, where the gradient of a square root is infinite.
    mean, square = (xx + yy) / 2, ((xx - yy) / 2).square() + xy.square()
    half = torch.where(square > 0, square, 1.0).sqrt().masked_fill(square == 0, 0.0)
    return torch.stack([mean + half, mean - half], dim=-1).clamp_min(0).sqrt(), torch.atan2(2 * xy, xx - yy) / 2


def expected_error(covariance: Tensor) -> Tensor:
    r"""The mean length of normal errors with covariances [..., 2, 2] and mean 0.

    .. math:: \mathbb{E}\lVert e \rVert = \sqrt{\tfrac{2}{\pi}} \, \tfrac{1}{4} \, L(\sigma_1, \sigma_2)

    with L the perimeter of the ellipse whose semi-axes are the standard deviations along the axes of the covariance, by
    Ramanujan's second approximation, 0.04 % too low at most. Equal deviations give
    :math:`\sigma \sqrt{\pi / 2}`, a single one :math:`\sigma \sqrt{2 / \pi}`.

    Returns:
        [...], in the unit of length of the covariances.
    """
    a, b = ellipse_axes(covariance)[0].unbind(-1)
    h = ((a - b) / (a + b).clamp_min(torch.finfo(a.dtype).tiny)).square()
    perimeter = math.pi * (a + b) * (1 + 3 * h / (10 + (4 - 3 * h).sqrt()))
    return math.sqrt(2 / math.pi) / 4 * perimeter


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


def solve_2x2(matrix: Tensor, rhs: Tensor) -> Tensor:
    """Solutions [..., 2, C] of systems with invertible matrices [..., 2, 2]."""
    a, b, c, d = matrix.flatten(-2).unbind(-1)
    adjugate = torch.stack([d, -b, -c, a], dim=-1).view_as(matrix)
    return adjugate @ rhs / (a * d - b * c)[..., None, None]


def symmetrized(matrix: Tensor) -> Tensor:
    """Matrices [..., n, n] without the asymmetry that rounding leaves."""
    return (matrix + matrix.mT) / 2
