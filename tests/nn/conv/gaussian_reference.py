"""The posterior of landmarks by the full covariance: what the low-rank forms are compared with."""

import torch
from torch import Tensor

from lgcn.nn.conv.factor_analysis_prior import FactorAnalysisPrior
from lgcn.nn.functional.gaussian import GaussianPosterior, as_covariance


def solve(matrix: Tensor, rhs: Tensor) -> Tensor:
    return torch.cholesky_solve(rhs, torch.linalg.cholesky(matrix))


def full_covariance(prior: FactorAnalysisPrior, landmark_id: Tensor) -> Tensor:
    """S [2N, 2N] of nodes of these types; nodes of one type share its loadings, not its uniqueness."""
    loadings = prior.loadings[landmark_id].flatten(0, 1)
    return loadings @ loadings.mT + torch.diag(prior.uniqueness[landmark_id].flatten())


def reference_edges(prior: FactorAnalysisPrior, variance: Tensor, landmark_id: Tensor, mask: Tensor) -> Tensor:
    """E [2N, 2N] of one graph, the columns of missing landmarks 0."""
    S, N = full_covariance(prior, landmark_id), len(landmark_id)
    observed = mask.repeat_interleave(2)
    noise = torch.block_diag(*as_covariance(variance, 2)[mask])
    edges = torch.zeros_like(S)
    edges[:, observed] = solve(S[observed][:, observed] + noise, S[observed]).mT
    return edges.view(2 * N, 2 * N)


def reference_posterior(
    prior: FactorAnalysisPrior, pos: Tensor, variance: Tensor, landmark_id: Tensor, mask: Tensor
) -> GaussianPosterior:
    """One graph, by Cholesky decomposition of S + R; residuals by leaving out one landmark after the other."""
    S, mean, N = full_covariance(prior, landmark_id), prior.mean[landmark_id], len(landmark_id)
    deviation = torch.where(mask.unsqueeze(1), pos - mean, 0.0).flatten()

    def condition(observed: Tensor) -> tuple[Tensor, Tensor]:
        edges = reference_edges(prior, variance, landmark_id, observed)
        expected, rest = edges @ deviation, S - edges @ S
        blocks = torch.stack([rest[2 * n : 2 * n + 2, 2 * n : 2 * n + 2] for n in range(N)])
        return mean + expected.view(N, 2), blocks

    residual, residual_covariance = torch.zeros_like(pos), torch.zeros(N, 2, 2, dtype=pos.dtype)
    for n in range(N):
        others = mask.clone()
        others[n] = False
        expected, blocks = condition(others)
        residual_covariance[n] = blocks[n]
        if mask[n]:
            residual[n] = pos[n] - expected[n]
            residual_covariance[n] += as_covariance(variance, 2)[n]
    return GaussianPosterior(*condition(mask), residual, residual_covariance)
