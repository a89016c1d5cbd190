r"""Exact inference in a mixture of factor-analysis priors: the posterior of every component, weighted by its evidence.

.. math::
    \gamma_m = \frac{\pi_m\, \mathcal{N}(\mathbf{m}; \boldsymbol\mu_m, \mathbf{S}_m + \mathbf{R})}
    {\sum_n \pi_n\, \mathcal{N}(\mathbf{m}; \boldsymbol\mu_n, \mathbf{S}_n + \mathbf{R})}

over the observed landmarks. Axis letters: M components, K landmarks, r factors; ``...`` are images, or none. ``share``
[..., M, K], or [..., M, 1] where all landmarks are of one graph, holds the logarithms of :math:`\gamma`; None is a
single Gaussian, whose quantities have no axis M.
"""

import torch
from torch import Tensor

from lgcn.covariance import solve_2x2, symmetrized
from lgcn.nn.functional.gaussian import GaussianPosterior, Observation


def landmark_evidence(observation: Observation) -> Tensor:
    r""":math:`\mathbf{b}_i^\top \mathbf{D}_i \mathbf{b}_i - \ln \det \mathbf{D}_i` [..., M, K]; 0 where missing."""
    deviation = observation.deviation.unsqueeze(-1)
    distance = (deviation.mT @ observation.precision @ deviation).flatten(-3)
    unit, size = _sized(observation.precision)
    return (distance - _log_det(unit) - 2 * size.log()).masked_fill(observation.missing, 0.0)


def log_evidence(own: Tensor, total: Tensor, factors: Tensor, pivots: Tensor) -> Tensor:
    r"""Logarithms of the densities of all observations under each component [..., M], up to a common constant.

    .. math::
        -\tfrac{1}{2} \Bigl(\sum_i \bigl(\mathbf{b}_i^\top \mathbf{D}_i \mathbf{b}_i - \ln \det \mathbf{D}_i\bigr)
        - \mathbf{t}^\top \mathbf{A} \mathbf{t} + \ln \det \mathbf{A}\Bigr)

    Args:
        own: [..., M], the sum of :func:`landmark_evidence` over a graph.
        total: [..., M, r, r + 1], the input of :func:`lgcn.nn.functional.gaussian.solve_factors`.
        factors: its first output, [..., M, r, 1] or [..., M, r, 1 + r].
        pivots: [..., M, r], its second.
    """
    explained = (total[..., -1] * factors[..., 0]).sum(-1)
    return (explained - own - pivots.log().sum(-1)) / 2


def expectation(values: Tensor, share: Tensor | None) -> Tensor:
    """Means [..., K, *] over the components of values [..., M, K, *], such as vectors or matrices of landmarks."""
    if share is None:
        return values
    axis = share.dim() - 2
    weight = share.exp().reshape(*share.shape, *[1] * (values.dim() - share.dim()))
    return (weight * values).sum(axis)


def mixed(posterior: GaussianPosterior, observation: Observation, share: Tensor | None) -> GaussianPosterior:
    r"""The posterior of a mixture, by its first two moments, from those of its components [..., M, K, ...].

    The leave-one-out residual of a landmark weights components by the evidence of the others,
    :math:`\gamma_m / \mathcal{N}(\mathbf{e}_{im}; \mathbf{0}, \mathbf{C}_{im})`.
    """
    if share is None:
        return posterior
    mean, covariance, residual, residual_covariance = posterior
    missing = observation.missing.unsqueeze(-1)
    unit, size = _sized(residual_covariance)
    error = residual.unsqueeze(-1)
    distance = (error.mT @ solve_2x2(unit, error)).flatten(-3) / size
    left_out = (distance + _log_det(unit)) / 2 + size.log()
    others = (share + left_out.masked_fill(observation.missing, 0.0)).log_softmax(dim=-2)
    # Where nothing was observed, components differ in what they predict.
    return GaussianPosterior(
        *_moments(mean, covariance, share),
        expectation(residual, others),
        _moments(torch.where(missing, mean, residual), residual_covariance, others)[1],
    )


def _moments(mean: Tensor, covariance: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [..., K, 2] and covariance [..., K, 2, 2] of mixtures."""
    centre = expectation(mean, share)
    off = (mean - centre.unsqueeze(-3)).unsqueeze(-1)
    return centre, symmetrized(expectation(covariance + off @ off.mT, share))


def _sized(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Matrices [..., 2, 2] of trace 1, whose determinants do not overflow or underflow, and the traces [...]."""
    size = matrix.diagonal(dim1=-2, dim2=-1).sum(-1)
    size = torch.where(size > 0, size, 1.0)  # what is missing has no precision
    return matrix / size[..., None, None], size


def _log_det(matrix: Tensor) -> Tensor:
    """Logarithms [...] of the determinants of positive definite matrices [..., 2, 2]."""
    a, b, c, d = matrix.flatten(-2).unbind(-1)
    return (a * d - b * c).clamp_min(torch.finfo(matrix.dtype).tiny).log()
