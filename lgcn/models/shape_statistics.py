"""Statistics of shapes and of a detector's errors, for :class:`lgcn.models.ShapeRefiner`."""

from typing import NamedTuple

import torch
from torch import Tensor

from lgcn.checks import InputError, check_floating, check_mask, check_shape
from lgcn.covariance import solve_2x2
from lgcn.typing import KeyPoints


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
