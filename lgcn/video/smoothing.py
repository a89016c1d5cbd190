"""Causal smoothing of landmarks that weighs each measurement by its predicted covariance."""

from typing import NamedTuple

import torch
from torch import Tensor


class SmoothedState(NamedTuple):
    """What a :class:`KalmanSmoother` knows of F faces."""

    mean: Tensor
    """[F, K, 2, 2]: positions, in pixels, and velocities, in pixels per second."""
    covariance: Tensor
    """[F, K, 4, 4], of positions and velocities (x, y, x', y')."""

    @property
    def pos(self) -> Tensor:
        """[F, K, 2], the smoothed landmarks."""
        return self.mean[:, :, 0]


class KalmanSmoother:
    """Kalman filter."""

    def __init__(
        self, strength: float = 1.0, noise: float = 0.1, acceleration: float = 10.0, unknown: float = 0.01
    ) -> None:
        self.noise = noise * strength
        self.acceleration = acceleration
        self.unknown = unknown

    def start(self, pos: Tensor, covariance: Tensor | None) -> SmoothedState:
        noise, size = self._noise(pos, covariance)
        mean = torch.stack([pos.double(), torch.zeros_like(pos, dtype=torch.float64)], dim=2)
        known = torch.zeros(*pos.shape[:2], 4, 4, dtype=torch.float64)
        known[..., :2, :2] = noise
        known[..., 2:, 2:] = torch.eye(2, dtype=torch.float64) * size.square()[:, None, None, None]
        return SmoothedState(mean, known)

    def update(self, state: SmoothedState, pos: Tensor, covariance: Tensor | None, seconds: float) -> SmoothedState:
        noise, size = self._noise(pos, covariance)
        eye = torch.eye(2, dtype=torch.float64)
        step = torch.eye(4, dtype=torch.float64)
        step[:2, 2:] = seconds * eye
        mean = state.mean.clone()
        mean[:, :, 0] += seconds * mean[:, :, 1]
        q = torch.tensor([[seconds**3 / 3, seconds**2 / 2], [seconds**2 / 2, seconds]], dtype=torch.float64)
        process = torch.kron(q, eye) * (self.acceleration * size).square()[:, None, None, None]
        known = step @ state.covariance @ step.mT + process
        gain = known[..., :, :2] @ torch.linalg.inv(known[..., :2, :2] + noise)
        moved = gain @ (pos.double() - mean[:, :, 0])[..., None]
        mean = mean + moved[..., 0].unflatten(-1, (2, 2))
        known = known - gain @ known[..., :2, :]
        return SmoothedState(mean, known)

    def _noise(self, pos: Tensor, covariance: Tensor | None) -> tuple[Tensor, Tensor]:
        centred = pos.double() - pos.double().mean(dim=1, keepdim=True)
        size = centred.square().sum(-1).mean(-1).sqrt()
        if covariance is None:
            return torch.eye(2, dtype=torch.float64) * (self.unknown * size).square()[:, None, None, None], size
        return self.noise * covariance.double(), size
