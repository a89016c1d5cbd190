r"""Exact inference in a factor-analysis prior over landmarks, in :math:`O(K r^2 + r^3)`.

.. math::
    \mathbf{y} \sim \mathcal{N}(\boldsymbol\mu, \mathbf{S}), \quad
    \mathbf{S} = \mathbf{U}\mathbf{U}^\top + \boldsymbol\Psi, \qquad
    \mathbf{m}_i = \mathbf{y}_i + \boldsymbol\varepsilon_i, \quad
    \boldsymbol\varepsilon_i \sim \mathcal{N}(\mathbf{0}, \mathbf{R}_i)

Axis letters: K landmarks, r factors; ``...`` are images, or none, and then the components of a mixture, if there are
several. Variances are in the squared unit of the positions.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lgcn.checks import InputError, check_finite, check_floating, check_mask, check_shape, is_transformed
from lgcn.covariance import solve_2x2, symmetrized


class GaussianPosterior(NamedTuple):
    r"""The distribution of every landmark given all observations, and leave-one-out residuals."""

    mean: Tensor
    r"""[..., K, 2], expected positions."""
    covariance: Tensor
    r"""[..., K, 2, 2] of the errors of ``mean``."""
    residual: Tensor
    r"""[..., K, 2], leave-one-out: observation minus its prediction from all others; 0 where nothing was observed."""
    residual_covariance: Tensor
    r"""[..., K, 2, 2] of ``residual`` under the model, noise included; where nothing was observed, of the prediction.
    An outlier has a large :math:`\mathbf{e}_i^\top \mathbf{C}_i^{-1} \mathbf{e}_i`."""


class Observation(NamedTuple):
    r"""Landmarks as summands over a graph, :math:`\mathbf{D}_i = (\mathbf{R}_i + \boldsymbol\Psi_i)^{-1}`.

    A missing landmark has the limits of infinite noise, :math:`\mathbf{D}_i = \mathbf{0}` and
    :math:`\mathbf{R}_i \mathbf{D}_i = \mathbf{I}`.
    """

    deviation: Tensor
    r"""[..., K, 2], :math:`\mathbf{b}_i = \mathbf{m}_i - \boldsymbol\mu_i`; 0 where missing."""
    noise: Tensor
    r"""[..., K, 2, 2], :math:`\mathbf{R}_i`; 0 where missing."""
    precision: Tensor
    r"""[..., K, 2, 2], :math:`\mathbf{D}_i`."""
    noise_share: Tensor
    r"""[..., K, 2, 2], :math:`\mathbf{R}_i \mathbf{D}_i`: how far a landmark follows the others."""
    missing: Tensor
    """[..., K], booleans."""


def check_observations(pos: Tensor, variance: Tensor, mask: Tensor | None) -> Tensor:
    """Check observations and find the missing landmarks: masked, or with an infinite variance.

    Values are checked on the CPU only and not under ``torch.func`` transforms; nothing is checked while compiling.

    Args:
        pos: [..., K, 2], anything where missing.
        variance: [..., K], [..., K, 2] or [..., K, 2, 2], anything where masked.
        mask: [..., K], False where missing.

    Returns:
        [..., K], True where missing.

    Raises:
        InputError: for shapes or types that do not fit, positions that are not finite, variances that are NaN or
            negative, and matrices that are no covariances.
    """
    axes = variance.dim() - pos.dim() + 1
    shape = [*pos.shape[:-1], *[2] * axes]
    if not torch.compiler.is_compiling():
        check_floating("pos", pos)
        check_floating("variance", variance)
        if axes not in (0, 1, 2) or list(variance.shape) != shape:
            forms = f"{shape[: pos.dim() - 1]}, the same with 2, or with 2, 2"
            raise InputError(f"Expected 'variance' to have shape {forms} (got {list(variance.shape)}).")
        if mask is not None:
            check_shape("mask", mask, " ".join(map(str, pos.shape[:-1])))
            check_mask("mask", mask, "...")
    diagonal = variance.diagonal(dim1=-2, dim2=-1) if axes == 2 else variance
    missing = (diagonal.amax(-1) if axes else diagonal) == torch.inf
    missing = missing if mask is None else missing | ~mask
    check_finite("pos", pos.detach().masked_fill(missing.unsqueeze(-1), 0.0))
    if not torch.compiler.is_compiling() and variance.device.type == "cpu" and not is_transformed():
        _check_variances(variance.detach().masked_fill(missing[(...,) + (None,) * axes], 0.0), axes)
    return missing


def _check_variances(variance: Tensor, axes: int) -> None:
    if axes < 2:
        valid = variance >= 0
    else:
        a, b, c, d = variance.flatten(-2).unbind(-1)
        rounding = 1e-4 * a * d
        valid = (a >= 0) & (d >= 0) & (b * c <= a * d + rounding) & ((b - c).square() <= rounding)
    if not valid.all():
        raise InputError(
            f"Expected 'variance' of 0 or more, or symmetric positive semidefinite matrices (got "
            f"{variance[~valid][0].tolist()}). Mask what is missing, or give it an infinite variance."
        )


def as_covariance(variance: Tensor, dim: int) -> Tensor:
    """Covariances [..., K, 2, 2] of variances [..., K], variances by axis [..., K, 2], or covariances.

    Args:
        variance: which of the three it is follows from its number of axes.
        dim: number of axes of the positions [..., K, 2].
    """
    if variance.dim() < dim:
        variance = variance.unsqueeze(-1).expand(*variance.shape, 2)
    return torch.diag_embed(variance) if variance.dim() == dim else variance


def solve_spd(matrix: Tensor, rhs: Tensor) -> tuple[Tensor, Tensor]:
    """Solutions [..., r, C] of systems with symmetric positive definite matrices [..., r, r], and pivots [..., r].

    By Cholesky decomposition; in an exported graph by Gauss-Jordan elimination, since ONNX has no decomposition. It is
    scaled to a unit diagonal, without which it loses two digits on the matrices of landmarks. The product of the pivots
    is the determinant.
    """
    if not torch.compiler.is_exporting():
        factor = torch.linalg.cholesky_ex(matrix).L
        return torch.cholesky_solve(rhs, factor), factor.diagonal(dim1=-2, dim2=-1).square()
    size = matrix.shape[-1]
    variance = matrix.diagonal(dim1=-2, dim2=-1)
    scale = variance.rsqrt().unsqueeze(-1)
    work = scale * torch.cat([matrix * scale.mT, rhs], dim=-1)
    identity = torch.eye(size, dtype=matrix.dtype, device=matrix.device)
    pivots = []
    for k in range(size):  # without pivoting: the pivots of a positive definite matrix are positive
        pivots.append(work[..., k, k])
        row = work[..., k : k + 1, :] / work[..., k : k + 1, k : k + 1]
        work = work - (work[..., k : k + 1] - identity[:, k : k + 1]) * row
    return scale * work[..., size:], variance * torch.stack(pivots, dim=-1)


def observe(pos: Tensor, variance: Tensor, mean: Tensor, uniqueness: Tensor, missing: Tensor) -> Observation:
    r"""Put positions and their noise into the form in which landmarks enter a sum.

    Args:
        pos: [..., K, 2]; not read where missing.
        variance: of the noise, see :func:`as_covariance`; not read where missing.
        mean: [..., K, 2], :math:`\boldsymbol\mu_i`.
        uniqueness: [..., K, 2], the diagonal of :math:`\boldsymbol\Psi`, positive.
        missing: [..., K], True where missing.
    """
    here = missing.unsqueeze(-1)
    # Filled first: a NaN would enter gradients even where its result is not used.
    deviation = (pos - mean).masked_fill(here, 0.0)
    noise = as_covariance(variance, pos.dim()).masked_fill(here.unsqueeze(-1), 0.0)
    total = noise + torch.diag_embed(uniqueness)
    # Of size 1, so that no determinant overflows or underflows.
    size = total.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    identity = torch.eye(2, dtype=total.dtype, device=total.device)
    inverse = solve_2x2(total / size, identity)
    share = torch.where(here.unsqueeze(-1), identity, noise / size @ inverse)
    return Observation(deviation, noise, (inverse / size).masked_fill(here.unsqueeze(-1), 0.0), share, missing)


def factor_terms(loadings: Tensor, observation: Observation) -> tuple[Tensor, Tensor]:
    r"""Messages from landmarks to factors, as two sides of a product.

    Args:
        loadings: [..., K, 2, r].
        observation: of the same landmarks.

    Returns:
        :math:`\mathbf{D}_i \mathbf{U}_i` [..., K, 2, r] and :math:`[\mathbf{U}_i, \mathbf{b}_i]` [..., K, 2, r + 1].
        The transpose of the first times the second is the message of a landmark; summed over a graph, it is the
        input of :func:`solve_factors`.
    """
    weighted = observation.precision @ loadings
    return weighted, torch.cat([loadings.expand_as(weighted), observation.deviation.unsqueeze(-1)], dim=-1)


def solve_factors(total: Tensor, with_covariance: bool = True) -> tuple[Tensor, Tensor]:
    r"""The posterior of the factors, :math:`\mathcal{N}(\mathbf{t}, \mathbf{A}^{-1})`.

    .. math::
        \mathbf{A} = \mathbf{I} + \sum_i \mathbf{U}_i^\top \mathbf{D}_i \mathbf{U}_i, \qquad
        \mathbf{t} = \mathbf{A}^{-1} \sum_i \mathbf{U}_i^\top \mathbf{D}_i \mathbf{b}_i

    Args:
        total: [..., r, r + 1], the two sums side by side.
        with_covariance: whether :math:`\mathbf{A}^{-1}` is wanted.

    Returns:
        :math:`[\mathbf{t}, \mathbf{A}^{-1}]` [..., r, 1 + r], or :math:`\mathbf{t}` [..., r, 1]; and numbers [..., r]
        whose product is :math:`\det \mathbf{A}`.
    """
    rank = total.shape[-2]
    identity = torch.eye(rank, dtype=total.dtype, device=total.device)
    rhs = total[..., rank:]
    if with_covariance:
        rhs = torch.cat([rhs, identity.expand_as(total[..., :rank])], dim=-1)
    return solve_spd(total[..., :rank] + identity, rhs)


def posterior_mean(mean: Tensor, observation: Observation, prediction: Tensor) -> Tensor:
    r"""Posterior means [..., K, 2].

    .. math::
        \mathbf{y}'_i = \boldsymbol\mu_i + \mathbf{b}_i
        + \mathbf{R}_i \mathbf{D}_i (\mathbf{U}_i \mathbf{t} - \mathbf{b}_i)

    Args:
        mean: [..., K, 2], :math:`\boldsymbol\mu_i`.
        observation: of the same landmarks.
        prediction: [..., K, 2], :math:`\mathbf{U}_i \mathbf{t}`.
    """
    step = observation.noise_share @ (prediction - observation.deviation).unsqueeze(-1)
    return mean + observation.deviation + step.squeeze(-1)


def posterior(
    mean: Tensor, uniqueness: Tensor, loadings: Tensor, observation: Observation, prediction: Tensor
) -> GaussianPosterior:
    r"""The posterior of every landmark from that of the factors.

    With :math:`\mathbf{P}_i = \mathbf{U}_i \mathbf{A}^{-1} \mathbf{U}_i^\top`, :math:`\mathbf{G}_i = \mathbf{R}_i
    \mathbf{D}_i` and the leave-one-out factor :math:`\mathbf{L}_i = (\mathbf{I} - \mathbf{P}_i \mathbf{D}_i)^{-1}`

    .. math::
        \mathbf{V}_i = \mathbf{G}_i \boldsymbol\Psi_i + \mathbf{G}_i \mathbf{P}_i \mathbf{G}_i^\top, \qquad
        \mathbf{e}_i = \mathbf{L}_i (\mathbf{b}_i - \mathbf{U}_i \mathbf{t}), \qquad
        \mathrm{Cov}(\mathbf{e}_i) = \mathbf{R}_i + \boldsymbol\Psi_i + \mathbf{L}_i \mathbf{P}_i

    Args:
        mean: [..., K, 2], :math:`\boldsymbol\mu_i`.
        uniqueness: [..., K, 2], the diagonal of :math:`\boldsymbol\Psi`.
        loadings: [..., K, 2, r], :math:`\mathbf{U}_i`.
        observation: of the same landmarks.
        prediction: [..., K, 2, 1 + r], :math:`\mathbf{U}_i [\mathbf{t}, \mathbf{A}^{-1}]`.
    """
    predicted, spread = prediction[..., 0], prediction[..., 1:] @ loadings.mT
    share = observation.noise_share
    covariance = share * uniqueness.unsqueeze(-2) + share @ spread @ share.mT
    identity = torch.eye(2, dtype=spread.dtype, device=spread.device)
    difference = (observation.deviation - predicted).unsqueeze(-1)
    left_out = solve_2x2(identity - spread @ observation.precision, torch.cat([difference, spread], dim=-1))
    residual_covariance = observation.noise + torch.diag_embed(uniqueness) + left_out[..., 1:]
    return GaussianPosterior(
        posterior_mean(mean, observation, predicted),
        symmetrized(covariance),
        left_out[..., 0].masked_fill(observation.missing.unsqueeze(-1), 0.0),
        symmetrized(residual_covariance),
    )
