"""Causal smoothing of landmarks in video, by their predicted covariances."""

from typing import NamedTuple

import torch
from torch import Tensor

from lgcn.checks import InputError, check_number, check_shape
from lgcn.covariance import solve_2x2, symmetrized

_MODES = 6
_START_SPEED = 3.0
"""Standard deviation of the speed of a new face, in radii per second."""


class SmoothedState(NamedTuple):
    """What a :class:`KalmanSmoother` knows about F faces; float64."""

    pos: Tensor
    """[F, K, 2], the smoothed landmarks in pixels."""
    covariance: Tensor
    """[F, K, 2, 2], of the landmarks relative to the face, square pixels."""
    velocity: Tensor
    """[F, 6], of the face along its affine modes, pixels per second."""
    motion_covariance: Tensor
    """[F, 12, 12], of the displacement and the velocity along the modes."""


class KalmanSmoother:
    r"""Kalman filter for landmarks that move with the face, and a little by themselves.

    .. math::
        x_t = x_{t-1} + B_t a_t + w_t, \qquad y_t = x_t + e_t, \quad e_t \sim \mathcal{N}(0, s \Sigma_t)

    The displacement a of the face along its affine modes B (two translations, rotation, scale, two shears) follows a
    constant velocity with random acceleration; w is a random walk of each landmark. :math:`\Sigma` is the predicted
    covariance of a landmark. First the motion of the face is estimated from all landmarks, each weighted by its
    covariance, then each landmark relative to it. So an uncertain landmark, as one that is covered, goes along with the
    others. Only earlier frames are used. Costs O(K).

    Lengths are relative to the *radius*, the root mean square distance of the landmarks from their mean: for 68
    landmarks of a face, 0.7 times the distance between the outer corners of the eyes. The defaults are chosen on
    held-out training faces, in videos as ``benchmarks/video_smoothing.py`` makes them.

    Args:
        strength: of the smoothing, a factor of :math:`s`; above 1 landmarks are calmer and follow later.
        noise: :math:`s` of a landmark relative to the face. Errors of neighbouring frames go together, so that it is
            more than their jitter alone would ask for.
        motion_noise: :math:`s` of the motion of the face, over K: at 1 the motion is as uncertain as a single landmark
            is. Errors of neighbouring landmarks go together, so that many are not much better than one.
        acceleration: of the face, the density of the random acceleration, in radii per second to the power 1.5.
        turning: the same of rotation, scale and shears, over that of the shifts.
        walk: of a landmark relative to the face, in radii per square root of a second.
        unknown: standard deviation of landmarks without a predicted covariance, in radii.

    Raises:
        InputError: for a number that is not positive.
    """

    def __init__(
        self,
        strength: float = 1.0,
        *,
        noise: float = 1.0,
        motion_noise: float = 1.5,
        acceleration: float = 7.0,
        turning: float = 0.1,
        walk: float = 0.1,
        unknown: float = 0.03,
    ) -> None:
        values = {"strength": strength, "noise": noise, "motion_noise": motion_noise}
        values |= {"acceleration": acceleration, "turning": turning, "walk": walk, "unknown": unknown}
        for name, value in values.items():
            if not 0 < check_number(name, value) < float("inf"):
                raise InputError(f"Expected '{name}' to be above 0 (got {value}).")
        self.strength = strength
        self.noise = noise
        self.motion_noise = motion_noise
        self.acceleration = acceleration
        self.turning = turning
        self.walk = walk
        self.unknown = unknown

    def start(self, pos: Tensor, covariance: Tensor | None = None) -> SmoothedState:
        """The state of faces in their first frame, at their landmarks [F, K, 2] with covariances [F, K, 2, 2]."""
        check_shape("pos", pos, "F K 2")
        pos = pos.double()
        motion = pos.new_zeros(len(pos), 2 * _MODES, 2 * _MODES)
        speed = (_START_SPEED * _radius(pos)).square()
        motion[:, _MODES:, _MODES:] = speed[:, None, None] * torch.eye(_MODES).to(pos)
        known = self.strength * self.noise * self._covariance(pos, covariance)
        return SmoothedState(pos, known, pos.new_zeros(len(pos), _MODES), motion)

    def update(
        self, state: SmoothedState, pos: Tensor, covariance: Tensor | None = None, seconds: float = 1 / 30
    ) -> SmoothedState:
        """The state after the next frame.

        Args:
            state: of the same faces in the frame before.
            pos: [F, K, 2], their landmarks in this frame, pixels.
            covariance: [F, K, 2, 2], of the errors of ``pos``; None if it is not known.
            seconds: since the frame before.
        """
        check_shape("pos", pos, "F K 2", F=len(state.pos), K=state.pos.shape[1])
        pos = pos.double()
        noise = self.strength * self._covariance(pos, covariance)
        radius = _radius(pos)[:, None, None]
        modes = affine_modes(state.pos)

        # Prediction.
        density = self.acceleration * radius[..., 0] * pos.new_tensor([1.0] * 2 + [self.turning] * (_MODES - 2))
        motion = _moved(state.motion_covariance, seconds, density.square())
        walk = (self.walk * radius[..., None]).square() * seconds
        known = state.covariance + walk * torch.eye(2).to(pos)
        before = state.pos + seconds * _combined(modes, state.velocity)

        # The motion of the face.
        weighted = solve_2x2(known + self.motion_noise * pos.shape[1] * noise, modes).mT
        information = (weighted @ modes).sum(dim=1)
        pull = (weighted @ (pos - before).unsqueeze(-1)).sum(dim=1)
        towards = motion[:, :, :_MODES]
        gain = towards @ torch.linalg.inv(torch.eye(_MODES).to(pos) + information @ towards[:, :_MODES])
        change = (gain @ pull).squeeze(-1)
        # The asymmetry of rounding would grow from frame to frame.
        motion = symmetrized(motion - gain @ information @ towards.mT)
        before = before + _combined(modes, change[:, :_MODES])

        # Each landmark.
        gain = solve_2x2(known + self.noise * noise, known).mT
        after = before + (gain @ (pos - before).unsqueeze(-1)).squeeze(-1)
        return SmoothedState(after, symmetrized(known - gain @ known), state.velocity + change[:, _MODES:], motion)

    def _covariance(self, pos: Tensor, covariance: Tensor | None) -> Tensor:
        """The covariances [F, K, 2, 2] of landmarks [F, K, 2], in float64."""
        least = (1e-4 * _radius(pos)).square()[:, None, None, None] * torch.eye(2).to(pos)
        if covariance is None:
            return least * (self.unknown / 1e-4) ** 2 * pos.new_ones(*pos.shape[:2], 1, 1)
        check_shape("covariance", covariance, "F K 2 2", F=pos.shape[0], K=pos.shape[1])
        return covariance.double() + least

    def __repr__(self) -> str:
        return f"{type(self).__name__}(strength={self.strength:g})"


def affine_modes(pos: Tensor) -> Tensor:
    """How landmarks [F, K, 2] move under small affine maps: [F, K, 2, 6].

    Shift in x and y, rotation, scale, and the two shears; one unit of each moves the landmarks by about a pixel.
    """
    centred = pos - pos.mean(dim=1, keepdim=True)
    x, y = (centred / _radius(pos)[:, None, None]).unbind(-1)
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    along_x, along_y = (one, zero, -y, x, x, y), (zero, one, x, y, -y, x)
    return torch.stack([torch.stack(along_x, dim=-1), torch.stack(along_y, dim=-1)], dim=2)


def _radius(pos: Tensor) -> Tensor:
    """[F], the root mean square distance of landmarks [F, K, 2] from their mean, at least 1e-3 pixels."""
    centred = pos - pos.mean(dim=1, keepdim=True)
    return centred.square().sum(dim=-1).mean(dim=-1).sqrt().clamp_min(1e-3)


def _combined(modes: Tensor, coefficients: Tensor) -> Tensor:
    """Sums [F, K, 2] of modes [F, K, 2, M] with coefficients [F, M]."""
    return (modes @ coefficients[:, None, :, None]).squeeze(-1)


def _moved(covariance: Tensor, seconds: float, density: Tensor) -> Tensor:
    """Covariance [F, 2M, 2M] of displacement and velocity after a time of white acceleration of densities [F, M]."""
    step = torch.kron(covariance.new_tensor([[1.0, seconds], [0.0, 1.0]]), torch.eye(_MODES).to(covariance))
    grown = covariance.new_tensor([[seconds**3 / 3, seconds**2 / 2], [seconds**2 / 2, seconds]])
    return step @ covariance @ step.mT + torch.kron(grown, torch.diag_embed(density))
