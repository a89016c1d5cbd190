"""Statistics of shapes and of a detector's errors, for :class:`lgcn.models.ShapeRefiner`."""

from typing import NamedTuple

import torch
from torch import Tensor

from lgcn.checks import InputError, check_floating, check_mask, check_shape
from lgcn.covariance import solve_2x2
from lgcn.nn import GaussianRefiner
from lgcn.nn.functional.similarity import fit_similarity
from lgcn.typing import KeyPoints

MAX_SLOPES = 32  # directions of the shape on which errors may depend
EXPECTED_ERRORS = tuple((0.0, share) for share in (0.0, 0.5, 0.7, 1.0)) + tuple(
    (1 / images, share) for images in (1000, 300, 100, 30) for share in (0.7, 1.0)
)
"""Slopes of expected errors over the shape, and shares removed, that are tried in :meth:`lgcn.models.ShapeRefiner.fit`.
"""

NOISE_SCALES = (0.001, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Factors of the noise that are tried: errors that look like shapes do not shrink, however large they are."""

TOLERANCE = 0.01
"""Of what has a mean error within this share of the best, the smallest share removed wins, then slope, then noise."""

HELD_OUT = 5
"""Every fifth image is held out from the fit that decides between these."""

NUM_LEVELS = 1001
"""Quantiles of the deviations in the fit that are kept."""

LEAST_IMAGES = 100  # without which nothing is held out

SCORE_LIMIT = 4.0
"""Standard deviations beyond which an error is not extrapolated."""


class Frame(NamedTuple):
    """Centre and size of each shape; coordinates relative to them do not depend on the size of images."""

    centre: Tensor
    """[N, 1, 2], mean of the observed points."""
    radius: Tensor
    """[N, 1, 1], their root-mean-square distance from it."""

    @classmethod
    def of(cls, pos: Tensor, observed: Tensor | None = None) -> "Frame":
        """The frame of shapes [N, K, 2], of whose landmarks only the ``observed`` [N, K] are read."""
        if observed is None:
            observed = torch.ones_like(pos[..., 0], dtype=torch.bool)
        weight = observed.unsqueeze(-1).to(pos.dtype)
        weight = weight / weight.sum(1, keepdim=True).clamp_min(1.0)
        pos = pos.masked_fill(~observed.unsqueeze(-1), 0.0)
        centre = (weight * pos).sum(1, keepdim=True)
        radius = (weight * (pos - centre).square()).sum((1, 2), keepdim=True).sqrt()
        return cls(centre, torch.where(radius > 0, radius, 1.0))

    def apply(self, pos: Tensor) -> Tensor:
        """Points [N, K, 2] of the image, in this frame."""
        return (pos - self.centre) / self.radius

    def invert(self, pos: Tensor) -> Tensor:
        """Points [N, K, 2] of this frame, in the image."""
        return pos * self.radius + self.centre


def find_donors(pairs: Tensor) -> Tensor:
    """Indices [N, K] of images whose error of a landmark is known: the own one [N, K], else that of a random other."""
    if not pairs.any(0).all():
        raise InputError(
            f"Expected each landmark predicted in at least one image where it is annotated (got none of landmark "
            f"{int(pairs.any(0).long().argmin())}). Leave that landmark out, or fit to shapes alone."
        )
    generator = torch.Generator().manual_seed(0)
    own = torch.arange(len(pairs)).unsqueeze(-1).expand_as(pairs)
    drawn = torch.multinomial(pairs.mT.float(), len(pairs), replacement=True, generator=generator).mT
    return torch.where(pairs, own, drawn)


def spatial_median(errors: Tensor, iterations: int = 20) -> Tensor:
    """The points [K, 2] with the least sum of distances to errors [N, K, 2]: a mean that failures do not move."""
    median = errors.median(dim=0).values
    for _ in range(iterations):
        weight = (errors - median).norm(dim=-1, keepdim=True).clamp_min(1e-6).reciprocal()
        median = (weight * errors).sum(0) / weight.sum(0)
    return median


class LinearErrors(NamedTuple):
    """Errors that depend on the shape: ``bias + (deviation @ directions).clamp(-4, 4) @ slopes``.

    A detector's errors are correlated, with each other and with the shape: one that stays too near to the mean shape
    errs the more, the farther a face is from it. Noise of one landmark at a time cannot say so.
    """

    bias: Tensor
    """[K, 2]."""
    directions: Tensor
    """[2 K, R], principal components of the deviations from the mean shape, which become scores of variance 1."""
    slopes: Tensor
    """[R, 2 K]."""

    def __call__(self, deviation: Tensor) -> Tensor:
        """Expected errors [N, K, 2] of shapes with deviations [N, K, 2] from the mean shape."""
        scores = (deviation.flatten(1) @ self.directions.to(deviation)).clamp(-SCORE_LIMIT, SCORE_LIMIT)
        return self.bias.to(deviation) + (scores @ self.slopes.to(deviation)).view_as(deviation)

    def times(self, share: float) -> "LinearErrors":
        """A share of these errors."""
        return LinearErrors(share * self.bias, self.directions, share * self.slopes)


def fit_linear_errors(deviation: Tensor, errors: Tensor, rank: int, slope: float, iterations: int = 8) -> LinearErrors:
    """Ridge regression of errors on principal components of shapes, with little weight for images that fail.

    Args:
        deviation: [N, K, 2], of predicted shapes from the mean shape.
        errors: [N, K, 2], of the same.
        rank: R.
        slope: slopes are shrunk as if 1 / slope images more had shown none; 0 leaves them at 0, and the bias is the
            :func:`spatial_median`.
        iterations: number of times that the weights are set anew.
    """
    N, K, _ = errors.shape
    x, y = deviation.flatten(1), errors.flatten(1)
    directions, slopes = x.new_zeros(2 * K, rank), x.new_zeros(rank, 2 * K)
    if slope == 0:
        return LinearErrors(spatial_median(errors), directions, slopes)
    _, spread, axes = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    used = min(rank, int((spread > 1e-4 * spread[0]).sum()))
    directions[:, :used] = axes[:used].mT / (spread[:used] / N**0.5)
    scores = (x @ directions).clamp(-SCORE_LIMIT, SCORE_LIMIT)
    design = torch.cat([torch.ones_like(x[:, :1]), scores], dim=1)
    penalty = torch.full((rank + 1,), 1 / slope, dtype=x.dtype)
    penalty[0] = 1e-9
    weight = x.new_ones(N, 1)
    for _ in range(iterations):
        weighted = (weight * design).mT
        found = torch.linalg.solve(weighted @ design + penalty.diag(), weighted @ y)
        weight = (y - design @ found).norm(dim=1, keepdim=True).clamp_min(1e-6).reciprocal()
        weight = weight / weight.mean()
    return LinearErrors(found[0].view(K, 2), directions, found[1:])


def _complete_by_mean(shapes: Tensor, annotated: Tensor, iterations: int = 5) -> Tensor:
    """Shapes [N, K, 2] with the mean shape's landmarks in place of those that are not annotated [N, K]."""
    if not annotated.any(0).all():
        raise InputError(
            f"Expected 'shapes' with each landmark in at least one image (got none of landmark "
            f"{int(annotated.any(0).long().argmin())}). Leave that landmark out."
        )
    missing = ~annotated.unsqueeze(-1)
    weight = annotated.double()
    filled = shapes.masked_fill(missing, 0.0)
    mean = filled.sum(0) / weight.sum(0).unsqueeze(-1)
    for _ in range(iterations):
        similarity = fit_similarity(filled, mean, weight)
        mean = (similarity.apply(filled) * weight.unsqueeze(-1)).sum(0) / weight.sum(0).unsqueeze(-1)
    return torch.where(missing, similarity.invert(mean.expand_as(shapes)), shapes)


def complete(refiner: GaussianRefiner, shapes: Tensor, annotated: Tensor, iterations: int = 5) -> Tensor:
    """Shapes [N, K, 2] with what the others predict for landmarks that are not annotated; fits the refiner to them."""
    if annotated.all():
        return shapes
    shapes, missing = _complete_by_mean(shapes, annotated), ~annotated.unsqueeze(-1)
    for _ in range(iterations):
        refiner.fit(shapes)
        given = shapes.to(refiner.frame)
        predicted = refiner.posterior(None, given, confident(refiner, given), annotated).mean
        shapes = torch.where(missing, predicted.to(shapes), shapes)
    return shapes


def confident(refiner: GaussianRefiner, pos: Tensor) -> Tensor | None:
    """Confidences of 1 [N, K] for landmarks [N, K, 2], if the refiner needs any."""
    return torch.ones_like(pos[..., 0]) if refiner.needs else None


def fill(refiner: GaussianRefiner, deviation: Tensor, bias: Tensor, observed: Tensor) -> Tensor:
    """Deviations [N, K, 2] from the mean shape with what the others predict for missing landmarks, bias included."""
    if observed.all():
        return deviation
    frame = refiner.frame.to(deviation)
    given = (deviation - bias + frame).to(refiner.frame)
    predicted = refiner.posterior(None, given, confident(refiner, given), observed).mean.to(deviation)
    return torch.where(observed.unsqueeze(-1), deviation, predicted - frame + bias)


def most_cautious(errors: dict[tuple[float, float, float], float]) -> tuple[float, float, float]:
    """The smallest choice whose error is within :data:`TOLERANCE` of the best."""
    limit = min(errors.values()) * (1 + TOLERANCE)
    return min(choice for choice, error in errors.items() if error <= limit)


def mahalanobis(residual: Tensor, covariance: Tensor) -> Tensor:
    """Lengths [...] of residuals [..., 2] in units of their covariances [..., 2, 2]."""
    solved = solve_2x2(covariance, residual.unsqueeze(-1)).squeeze(-1)
    return (residual * solved).sum(-1).clamp_min(0.0).sqrt()


def observed_landmarks(keypoints: KeyPoints, num_landmarks: int) -> Tensor:
    """[N, K], False where a landmark is missing."""
    pos, mask = keypoints.pos, keypoints.mask
    check_shape("pos", pos, "N K 2", K=num_landmarks)
    check_floating("pos", pos)
    observed = pos.isfinite().all(-1)
    if mask is None:
        return observed
    check_mask("mask", mask, "N K", N=len(pos), K=num_landmarks)
    return observed & mask


def share_as_large(levels: Tensor, deviation: Tensor) -> Tensor:
    """Share of the landmarks in the fit, of which ``levels`` are quantiles, with a deviation as large."""
    below = torch.searchsorted(levels, deviation.detach().contiguous())
    return (1 - below / (NUM_LEVELS - 1)).clamp_min(0.0)
