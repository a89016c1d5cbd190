import math

import pytest
import torch
from torch import Tensor

from lgcn.checks import InputError
from lgcn.video import KalmanSmoother
from lgcn.video.smoothing import affine_modes

FACE = 100 + 60 * torch.rand(40, 2, generator=torch.Generator().manual_seed(0))
COVARIANCE = torch.tensor([[4.0, 1.0], [1.0, 3.0]]).expand(1, len(FACE), 2, 2)


def smoothed(pos: Tensor, covariance: Tensor | None = COVARIANCE, smoother: KalmanSmoother | None = None) -> Tensor:
    """A sequence [T, K, 2] of one face, smoothed."""
    smoother = smoother or KalmanSmoother()
    state = smoother.start(pos[:1], covariance)
    found = [state.pos[0]]
    for each in pos[1:]:
        state = smoother.update(state, each[None], covariance)
        found.append(state.pos[0])
    return torch.stack(found)


def jitter(pos: Tensor) -> float:
    return float((pos[2:] - 2 * pos[1:-1] + pos[:-2]).norm(dim=-1).mean())


def moving_face(frames: int = 60) -> Tensor:
    """A face that moves, turns and grows evenly: [T, K, 2]."""
    shapes = []
    for t in range(frames):
        angle, zoom = 0.003 * t, 1.002**t
        turn = zoom * torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        shapes.append((FACE - 130) @ turn.mT + 130 + t * torch.tensor([2.0, -1.0]))
    return torch.stack(shapes)


def test_a_still_face_becomes_calm() -> None:
    noisy = FACE + torch.randn(200, *FACE.shape)
    found = smoothed(noisy)
    assert jitter(found) < 0.2 * jitter(noisy)
    assert (found[100:] - FACE).norm(dim=-1).mean() < 0.6 * (noisy[100:] - FACE).norm(dim=-1).mean()


def test_covariances_stay_sound_in_a_long_video() -> None:
    smoother = KalmanSmoother()
    state = smoother.start(FACE[None], COVARIANCE)
    for _ in range(300):
        state = smoother.update(state, FACE[None] + torch.randn(1, *FACE.shape), COVARIANCE)
    for each in (state.covariance, state.motion_covariance):
        assert torch.equal(each, each.mT)
        assert torch.linalg.eigvalsh(each).min() > 0
    assert (state.pos[0] - FACE).norm(dim=-1).mean() < 1


def test_an_even_movement_is_followed_without_lag() -> None:
    pos = moving_face()
    assert (smoothed(pos)[30:] - pos[30:]).norm(dim=-1).max() < 0.1  # of about 3 pixels a frame


def test_a_covered_landmark_goes_along_with_the_others() -> None:
    pos = moving_face()
    measured, covariance = pos.clone(), COVARIANCE.clone()
    state = KalmanSmoother().start(measured[:1], covariance)
    for t in range(1, len(pos)):
        if t >= 30:  # the landmark is seen where it was before
            measured[t, 4], covariance[:, 4] = pos[30, 4], 1e4 * torch.eye(2)
        state = KalmanSmoother().update(state, measured[t : t + 1], covariance)
    assert (measured[-1, 4] - pos[-1, 4]).norm() > 50
    assert (state.pos[0, 4] - pos[-1, 4]).norm() < 2


def test_covariances_are_spent_direction_by_direction() -> None:
    flat = torch.diag(torch.tensor([100.0, 0.01])).expand(1, len(FACE), 2, 2)
    jump = FACE.repeat(100, 1, 1)
    jump[-1, 4] += 5
    moved = (smoothed(jump, flat)[-1] - FACE)[4]
    assert 0 <= moved[0] < 1.5 and 4.5 < moved[1] <= 5


def test_strength_calms_and_units_of_length_do_not_matter() -> None:
    noisy = moving_face() + torch.randn(60, *FACE.shape)
    weak, usual, strong = (jitter(smoothed(noisy, smoother=KalmanSmoother(each))) for each in (0.1, 1.0, 10.0))
    assert weak > 1.2 * usual > 1.2**2 * strong
    torch.testing.assert_close(smoothed(8 * noisy, 64 * COVARIANCE), 8 * smoothed(noisy), rtol=1e-9, atol=1e-6)


def test_faces_of_a_batch_do_not_mix() -> None:
    pos = torch.stack([FACE, 3 * FACE.flip(0)]) + torch.randn(5, 2, *FACE.shape)
    covariance = COVARIANCE.repeat(2, 1, 1, 1)
    smoother = KalmanSmoother()
    state = smoother.start(pos[0], covariance)
    for each in pos[1:]:
        state = smoother.update(state, each, covariance)
    for number in range(2):
        torch.testing.assert_close(state.pos[number], smoothed(pos[:, number])[-1])


def test_landmarks_without_covariance_and_single_landmarks_are_smoothed_too() -> None:
    noisy = FACE + torch.randn(100, *FACE.shape)
    assert jitter(smoothed(noisy, None)) < 0.5 * jitter(noisy)
    assert torch.isfinite(smoothed(noisy[:, :1], None)).all()
    assert torch.isfinite(smoothed(torch.zeros(5, 40, 2))).all()  # all in one spot


def test_modes_are_the_affine_maps() -> None:
    modes = affine_modes(FACE[None])[0].flatten(0, 1)
    assert torch.linalg.matrix_rank(modes) == 6
    homogeneous = torch.cat([FACE, torch.ones(len(FACE), 1)], dim=1)
    moved = homogeneous @ torch.randn(3, 2)
    fit = torch.linalg.lstsq(modes, moved.flatten()[:, None]).solution
    torch.testing.assert_close((modes @ fit)[:, 0], moved.flatten(), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("name", ["strength", "noise", "motion_noise", "acceleration", "turning", "walk", "unknown"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_bad_values(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"'{name}'"):
        KalmanSmoother(**{name: value})
