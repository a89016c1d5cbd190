"""A Gaussian prior over the positions of typed landmarks, with a low-rank covariance."""

import math

import torch
from torch import Tensor, nn

from lgcn.checks import InputError, check_at_least, check_finite, check_floating, check_shape


class FactorAnalysisPrior(nn.Module):
    r"""The factor-analysis model of a set of landmarks.

    .. math::
        \mathbf{y} \sim \mathcal{N}(\boldsymbol\mu, \mathbf{S}), \qquad
        \mathbf{S} = \mathbf{U}\mathbf{U}^\top + \mathrm{diag}(\boldsymbol\psi)

    Each type of landmark has a mean, two rows of the loadings :math:`\mathbf{U}` (one per axis; together the embedding
    of its class) and two uniquenesses :math:`\psi`, the variances that it shares with no other landmark. See Rubin and
    Thayer, "EM algorithms for ML factor analysis", Psychometrika 1982; with equal uniquenesses it is the probabilistic
    principal component analysis of Tipping and Bishop, 1999.

    Args:
        num_landmarks: K, the number of types.
        rank: r, the number of factors, at most 2 K.

    Raises:
        InputError: if a number is out of range.
    """

    def __init__(self, num_landmarks: int, rank: int = 16) -> None:
        super().__init__()
        self.num_landmarks = check_at_least("num_landmarks", num_landmarks, 1)
        self.rank = check_at_least("rank", rank, 1)
        if rank > 2 * num_landmarks:
            raise InputError(f"Expected 'rank' of at most {2 * num_landmarks}, two a landmark (got {rank}).")
        self.mean = nn.Parameter(torch.empty(num_landmarks, 2))
        self.loadings = nn.Parameter(torch.empty(num_landmarks, 2, rank))
        self.log_uniqueness = nn.Parameter(torch.empty(num_landmarks, 2))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new loadings; means are 0, and variances 1 from the factors, on average, plus a uniqueness of 1."""
        nn.init.zeros_(self.mean)
        nn.init.normal_(self.loadings, std=1 / math.sqrt(self.rank))
        nn.init.zeros_(self.log_uniqueness)

    @property
    def uniqueness(self) -> Tensor:
        r""":math:`\boldsymbol\psi`, [K, 2]."""
        return self.log_uniqueness.exp()

    def variance(self) -> Tensor:
        r"""The diagonal of :math:`\mathbf{S}`, [K, 2]."""
        return self.loadings.square().sum(-1) + self.uniqueness

    def covariance(self) -> Tensor:
        r""":math:`\mathbf{S}`, [2 K, 2 K], in the order x and y of landmark 0, x and y of landmark 1, ..."""
        loadings = self.loadings.flatten(0, 1)
        return loadings @ loadings.mT + torch.diag_embed(self.uniqueness.flatten())

    def parameters_for(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Mean, loadings, uniqueness and the tensors, all in the widest of their types, single precision at least."""
        dtype = torch.promote_types(self.mean.dtype, torch.float32)
        for tensor in tensors:
            dtype = torch.promote_types(dtype, tensor.dtype)
        return tuple(each.to(dtype) for each in (self.mean, self.loadings, self.uniqueness, *tensors))

    @torch.no_grad()
    def fit(self, shapes: Tensor, iterations: int = 100, least: float = 1e-4) -> "FactorAnalysisPrior":
        r"""Set all parameters from examples, without gradients: principal components, then EM on their covariance.

        Args:
            shapes: [N, K, 2], aligned and complete.
            iterations: of EM, each :math:`O(K^2 r)`; 0 leaves the principal components.
            least: lower bound of a uniqueness, over the mean variance of a coordinate. It keeps single precision exact.

        Returns:
            The module itself.

        Raises:
            InputError: if shapes are not finite, or do not vary in ``rank`` directions (too few or too similar shapes).
        """
        check_shape("shapes", shapes, "N K 2", K=self.num_landmarks)
        check_floating("shapes", shapes)
        check_finite("shapes", shapes)
        # On the CPU, since not every accelerator has double precision.
        data = shapes.cpu().double().flatten(1)
        mean = data.mean(dim=0)
        covariance = (data - mean).mT @ (data - mean) / max(1, len(data) - 1)
        values, vectors = torch.linalg.eigh(covariance)
        values, vectors = values.flip(0), vectors.flip(1)
        # Directions without variation contain only rounding errors, at most those of the coordinates.
        rounding = len(values) * torch.finfo(shapes.dtype).eps ** 2 * data.square().mean()
        span = int((values > torch.maximum(1e-10 * values[0], rounding)).sum())
        if span < self.rank:
            raise InputError(
                f"Expected 'shapes' to vary in {self.rank} directions, the rank (got {len(data)} shapes that vary in "
                f"{span}). Give more shapes, or take a smaller rank."
            )
        floor = least * values.clamp_min(0).mean()
        rest = values[self.rank :].clamp_min(0).mean() if self.rank < len(values) else floor
        loadings = vectors[:, : self.rank] * (values[: self.rank] - rest).clamp_min(0).sqrt()
        uniqueness = (covariance.diagonal() - loadings.square().sum(1)).clamp_min(floor)
        identity = torch.eye(self.rank, dtype=torch.double)
        for _ in range(iterations):
            weighted = loadings / uniqueness.unsqueeze(1)
            regression = torch.linalg.solve(identity + weighted.mT @ loadings, weighted.mT)
            shared = regression @ covariance
            second = identity - regression @ loadings + shared @ regression.mT
            loadings = torch.linalg.solve(second, shared).mT
            uniqueness = (covariance.diagonal() - (loadings * shared.mT).sum(1)).clamp_min(floor)
        self.mean.copy_(mean.view_as(self.mean))
        self.loadings.copy_(loadings.view_as(self.loadings))
        self.log_uniqueness.copy_(uniqueness.log().view_as(self.log_uniqueness))
        return self

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that training should not pull towards 0: all are statistics."""
        return {name for name, _ in self.named_parameters()}

    def extra_repr(self) -> str:
        return f"{self.num_landmarks}, rank={self.rank}"
