"""A Gaussian prior over the positions of typed landmarks, with a low-rank covariance, or a mixture of several."""

import math

import torch
from torch import Tensor, nn

from lgcn.checks import InputError, check_at_least, check_finite, check_floating, check_shape
from lgcn.nn.functional.mixture import expectation


class FactorAnalysisPrior(nn.Module):
    r"""The factor-analysis model of a set of landmarks.

    .. math::
        \mathbf{y} \sim \mathcal{N}(\boldsymbol\mu, \mathbf{S}), \qquad
        \mathbf{S} = \mathbf{U}\mathbf{U}^\top + \mathrm{diag}(\boldsymbol\psi)

    Each type of landmark has a mean, two rows of the loadings :math:`\mathbf{U}` (one per axis; together the embedding
    of its class) and two uniquenesses :math:`\psi`, the variances that it shares with no other landmark. See Rubin and
    Thayer, "EM algorithms for ML factor analysis", Psychometrika 1982; with equal uniquenesses it is the probabilistic
    principal component analysis of Tipping and Bishop, 1999.

    Shapes of several kinds, such as faces seen from the left and from the right, are described better by a mixture of M
    such models with weights :math:`\pi_m` (Ghahramani and Hinton, "The EM algorithm for mixtures of factor analyzers",
    1996). All parameters then have a leading axis M.

    Args:
        num_landmarks: K, the number of types.
        rank: r, the number of factors, at most 2 K.
        num_components: M, 1 for a single Gaussian.

    Raises:
        InputError: if a number is out of range.
    """

    def __init__(self, num_landmarks: int, rank: int = 16, num_components: int = 1) -> None:
        super().__init__()
        self.num_landmarks = check_at_least("num_landmarks", num_landmarks, 1)
        self.rank = check_at_least("rank", rank, 1)
        if rank > 2 * num_landmarks:
            raise InputError(f"Expected 'rank' of at most {2 * num_landmarks}, two a landmark (got {rank}).")
        self.num_components = check_at_least("num_components", num_components, 1)
        size = (num_components,) * (num_components > 1) + (num_landmarks, 2)
        self.mean = nn.Parameter(torch.empty(size))
        self.loadings = nn.Parameter(torch.empty(*size, rank))
        self.log_uniqueness = nn.Parameter(torch.empty(size))
        self.log_weight = nn.Parameter(torch.empty(num_components)) if num_components > 1 else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new loadings; means are 0, and variances 1 from the factors, on average, plus a uniqueness of 1.

        Components of a mixture have equal weights.
        """
        nn.init.zeros_(self.mean)
        nn.init.normal_(self.loadings, std=1 / math.sqrt(self.rank))
        nn.init.zeros_(self.log_uniqueness)
        if self.log_weight is not None:
            nn.init.zeros_(self.log_weight)

    @property
    def uniqueness(self) -> Tensor:
        r""":math:`\boldsymbol\psi`, [K, 2] or [M, K, 2]."""
        return self.log_uniqueness.exp()

    @property
    def log_share(self) -> Tensor | None:
        r""":math:`\ln \pi_m` [M, 1], or None for a single Gaussian."""
        return None if self.log_weight is None else self.log_weight.log_softmax(0).unsqueeze(-1)

    def expectation(self) -> Tensor:
        """The mean over all components, [K, 2]."""
        return expectation(self.mean, self.log_share)

    def variance(self, rank: int | None = None) -> Tensor:
        r"""The diagonal of :math:`\mathbf{S}`, [K, 2]; of a mixture over all components.

        Args:
            rank: only that of the first factors.
        """
        variance = self.loadings[..., :rank].square().sum(-1) + self.uniqueness
        if self.log_weight is None:
            return variance
        return expectation(variance + (self.mean - self.expectation()).square(), self.log_share)

    def covariance(self) -> Tensor:
        r""":math:`\mathbf{S}` [2 K, 2 K], or [M, 2 K, 2 K], in the order x and y of landmark 0, x and y of 1, ..."""
        loadings = self.loadings.flatten(-3, -2)
        return loadings @ loadings.mT + torch.diag_embed(self.uniqueness.flatten(-2))

    def parameters_for(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Mean, loadings, uniqueness and the tensors, all in the widest of their types, single precision at least."""
        dtype = torch.promote_types(self.mean.dtype, torch.float32)
        for tensor in tensors:
            dtype = torch.promote_types(dtype, tensor.dtype)
        return tuple(each.to(dtype) for each in (self.mean, self.loadings, self.uniqueness, *tensors))

    @torch.no_grad()
    def fit(self, shapes: Tensor, iterations: int = 100, least: float = 1e-4) -> "FactorAnalysisPrior":
        r"""Set all parameters from examples, without gradients: principal components, then EM on their covariance.

        The components of a mixture are fitted each to a group of the shapes (k-means).

        Args:
            shapes: [N, K, 2], aligned and complete.
            iterations: of EM, each :math:`O(K^2 r)`; 0 leaves the principal components.
            least: lower bound of a uniqueness, over the mean variance of a coordinate. It keeps single precision exact.

        Returns:
            The module itself.

        Raises:
            InputError: if shapes are not finite, or those of a component do not vary in ``rank`` directions (too few or
                too similar shapes).
        """
        check_shape("shapes", shapes, "N K 2", K=self.num_landmarks)
        check_floating("shapes", shapes)
        check_finite("shapes", shapes)
        if self.log_weight is not None:
            group = k_means(shapes.cpu().double().flatten(1), self.num_components)
            for m in range(self.num_components):
                part = FactorAnalysisPrior(self.num_landmarks, self.rank).to(self.mean)
                part.fit(shapes[(group == m).to(shapes.device)], iterations, least)
                for name, parameter in part.named_parameters():
                    getattr(self, name)[m].copy_(parameter)
            self.log_weight.copy_(group.bincount(minlength=self.num_components).double().log())
            return self
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
        mixture = f", num_components={self.num_components}" if self.num_components > 1 else ""
        return f"{self.num_landmarks}, rank={self.rank}{mixture}"


def k_means(points: Tensor, count: int, iterations: int = 100) -> Tensor:
    """Groups [N] of points [N, D], 0 ... count - 1, by Lloyd's algorithm.

    It starts from equal parts along the direction of the largest variance, so that it needs no random numbers. A group
    may be empty where there are few points.
    """
    centred = points - points.mean(0)
    direction = torch.linalg.eigh(centred.mT @ centred)[1][:, -1]
    group = (points @ direction).argsort().argsort() * count // max(1, len(points))
    for _ in range(iterations):
        centres = torch.stack([points[group == m].mean(0) for m in range(count)]).nan_to_num(torch.inf)
        nearest = torch.cdist(points, centres, compute_mode="donot_use_mm_for_euclid_dist").argmin(1)
        if nearest.equal(group):
            break
        group = nearest
    return group


def edge_positions(prior: FactorAnalysisPrior, variance: Tensor, pos: Tensor | None, lead: torch.Size) -> Tensor:
    """Positions [*lead, 2] that edges are computed for: only those of a mixture depend on them."""
    if pos is not None:
        return pos
    if prior.num_components > 1:
        raise InputError("Expected 'pos' (got None). The edges of a mixture depend on positions.")
    return variance.new_zeros(*lead, 2)
