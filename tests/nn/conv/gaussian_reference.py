"""Random priors and scenes, and the posterior by the full covariance that the low-rank forms are compared with."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lgcn.nn.conv.factor_analysis_prior import FactorAnalysisPrior
from lgcn.nn.functional.gaussian import GaussianPosterior, as_covariance

K, RANK = 6, 3
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}
COMPONENTS = (1, 3)
FORMS = ("isotropic", "diagonal", "full")


class Scene(NamedTuple):
    """A batch of graphs; a scene of B images of all K landmarks can be made dense."""

    pos: Tensor
    variance: Tensor
    landmark_id: Tensor
    batch: Tensor
    mask: Tensor

    def dense(self) -> tuple[Tensor, Tensor, Tensor]:
        return tuple(each.unflatten(0, (-1, K)) for each in (self.pos, self.variance, self.mask))

    def permuted(self, order: Tensor) -> "Scene":
        return Scene(*(each[order] for each in self))


def random_prior(dtype: torch.dtype = torch.float64, num_components: int = 1) -> FactorAnalysisPrior:
    prior = FactorAnalysisPrior(K, RANK, num_components).to(dtype)
    for parameter in prior.parameters():
        nn.init.normal_(parameter)
    return prior


def random_variance(count: int, form: str, dtype: torch.dtype) -> Tensor:
    factor = torch.randn(count, 2, 2, dtype=dtype)
    full = factor @ factor.mT
    return {"isotropic": full[:, 0, 0], "diagonal": full.diagonal(dim1=1, dim2=2).clone(), "full": full}[form]


def random_scene(images: int = 3, form: str = "full", dtype: torch.dtype = torch.float64) -> Scene:
    count = images * K
    return Scene(
        torch.randn(count, 2, dtype=dtype),
        random_variance(count, form, dtype),
        torch.arange(K).repeat(images),
        torch.arange(images).repeat_interleave(K),
        torch.rand(count) < 0.7,
    )


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=TOLERANCE[expected.dtype], atol=TOLERANCE[expected.dtype])


class Wrapped(nn.Module):
    """The posterior as a forward."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, *args: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.conv.posterior(*args))


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
