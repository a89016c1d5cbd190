"""A video of a face whose landmarks are known in every frame: one image, moved along a known path.

Frame t shows the image, as a plane in space that is moved and turned by a smooth path and seen in perspective, and in
it :math:`u + d_t(u)` at the place u of the plane: the field :math:`d_t` opens and closes the mouth. Pixel noise is new
in each frame; an occluder passes over the face now and then.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

FRAME_RATE = 30.0
SIZE = 288
"""Side of a frame, in pixels."""
EYE_DISTANCE = 56.0
"""Pixels between the outer corners of the eyes, on average over time."""
PASS_EVERY, PASS_FRAMES = 60, 30
"""An occluder starts to pass this often, and takes so long."""


@dataclass(frozen=True)
class Conditions:
    """What makes a synthetic video difficult."""

    motion: float = 1.0
    """Factor of all amplitudes of the head's movement."""
    mouth: float = 0.06
    """Largest movement of the lips, in eye distances."""
    noise: float = 8.0
    """Standard deviation of the pixel noise, of 255."""
    occluder: float = 0.45
    """Side of the passing occluder, in face widths; 0 for none."""


class SyntheticFrame(NamedTuple):
    """One frame."""

    time: float
    """Seconds."""
    image: Tensor
    """uint8 [3, H, W]."""
    target: Tensor
    """[K, 2], where the landmarks are."""
    covered: bool
    """Whether an occluder touches the face."""


def synthetic_video(
    image: Tensor, pos: Tensor, eyes: tuple[int, int], frames: int, conditions: Conditions, seed: int
) -> Iterator[SyntheticFrame]:
    """Yield the frames.

    Args:
        image: uint8 [3, H, W].
        pos: [K, 2], the landmarks in it.
        eyes: indices of the outer corners of the eyes.
        frames: how many.
        conditions: see there.
        seed: of phases, noise and occluders.
    """
    generator = torch.Generator().manual_seed(seed)
    pos = pos.double()
    eye_distance = float((pos[eyes[0]] - pos[eyes[1]]).norm())
    middle = (pos.amin(0) + pos.amax(0)) / 2
    lips = pos[48:].mean(0) if len(pos) == 68 else middle
    width = float((pos.amax(0) - pos.amin(0)).max()) * EYE_DISTANCE / eye_distance
    path = _Path(conditions, generator)
    occluder = _Occluder(round(conditions.occluder * width), generator) if conditions.occluder else None
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    pixels = torch.stack([x, y], dim=-1).double()
    # The plane has the eye distance as its unit, and the middle of the face as its origin.
    to_plane = torch.tensor([[1, 0, -middle[0]], [0, 1, -middle[1]], [0, 0, eye_distance]]).double()
    to_frame = torch.tensor([[EYE_DISTANCE, 0, (SIZE - 1) / 2], [0, EYE_DISTANCE, (SIZE - 1) / 2], [0, 0, 1]]).double()
    for number in range(frames):
        time = number / FRAME_RATE
        pose, opening = path(time)
        seen = to_frame @ pose @ to_plane
        opening *= eye_distance

        def moved(points: Tensor, opening: float = opening) -> Tensor:
            """The field d_t at points [..., 2] of the image, which stretches the surroundings of the lips."""
            away = (points - lips) / (0.25 * eye_distance)
            weight = torch.exp(-away.square().sum(-1) / 2)
            return torch.stack([torch.zeros_like(weight), -opening * weight * away[..., 1]], dim=-1)

        u = pos
        for _ in range(20):  # a contraction: u + d(u) = pos
            u = pos - moved(u)
        target = _project(u, seen)
        source = _project(pixels, torch.linalg.inv(seen))
        source = source + moved(source)
        grid = (source + 0.5) * 2 / torch.tensor([image.shape[2], image.shape[1]]) - 1
        frame = F.grid_sample(image[None].float(), grid[None].float(), padding_mode="border", align_corners=False)[0]
        covered = occluder is not None and occluder.cover(frame, number, target)
        frame += conditions.noise * torch.randn(frame.shape, generator=generator)
        yield SyntheticFrame(time, frame.round().clamp(0, 255).to(torch.uint8), target, covered)


def _project(points: Tensor, homography: Tensor) -> Tensor:
    """Points [..., 2] under a homography [3, 3]."""
    out = F.pad(points, (0, 1), value=1.0) @ homography.mT
    return out[..., :2] / out[..., 2:]


class _Path:
    """The smooth movement of a head: slow and fast oscillations, and a quick shift every two seconds."""

    DISTANCE = 8.0
    """Of the camera, in eye distances."""

    def __init__(self, conditions: Conditions, generator: torch.Generator) -> None:
        self.conditions = conditions
        self.phase = 2 * math.pi * torch.rand(12, generator=generator).double()

    def __call__(self, time: float) -> tuple[Tensor, float]:
        """The homography [3, 3] from the plane to what is seen, in eye distances, and the opening of the mouth."""
        # Amplitudes and Hertz of x, y, z in eye distances and roll, pitch, yaw in radians, each slow and fast.
        amplitude = torch.tensor([0.40, 0.08, 0.25, 0.06, 0.80, 0.08, 0.20, 0.04, 0.12, 0.03, 0.30, 0.05]).double()
        hertz = torch.tensor([0.35, 1.30, 0.27, 1.70, 0.30, 0.90, 0.40, 1.10, 0.45, 1.50, 0.32, 1.20]).double()
        wave = self.conditions.motion * amplitude * torch.sin(2 * math.pi * hertz * time + self.phase)
        x, y, z, roll, pitch, yaw = wave.unflatten(0, (6, 2)).sum(1).tolist()
        # Half an eye distance to the side within a quarter of a second, and back two seconds later.
        ramp = (time % 4.0) / 0.25, (time % 4.0 - 2.0) / 0.25
        x += self.conditions.motion * 0.5 * (_smooth_step(ramp[0]) - _smooth_step(ramp[1]) - 0.5)
        opening = self.conditions.mouth * math.sin(2 * math.pi * 2.3 * time) * math.sin(2 * math.pi * 0.4 * time)
        turn = _rotation(roll, 0, 1) @ _rotation(pitch, 1, 2) @ _rotation(yaw, 0, 2)
        plane = torch.column_stack([turn[:, :2], torch.tensor([x, y, self.DISTANCE + z]).double()])
        return torch.diag(torch.tensor([self.DISTANCE, self.DISTANCE, 1.0]).double()) @ plane, opening


def _rotation(angle: float, first: int, second: int) -> Tensor:
    """The rotation [3, 3] of one axis towards another."""
    turn = torch.eye(3, dtype=torch.float64)
    turn[first, first] = turn[second, second] = math.cos(angle)
    turn[second, first], turn[first, second] = math.sin(angle), -math.sin(angle)
    return turn


def _smooth_step(share: float) -> float:
    """From 0 to 1 between 0 and 1, with continuous acceleration."""
    share = min(max(share, 0.0), 1.0)
    return share**3 * (10 - 15 * share + 6 * share**2)


class _Occluder:
    """A square of blurred noise that crosses the face on a straight line, each time along another one."""

    def __init__(self, side: int, generator: torch.Generator) -> None:
        self.side, self.generator = side, generator
        coarse = 255 * torch.rand(1, 3, 4, 4, generator=generator)
        self.texture = F.interpolate(coarse, (side, side), mode="bilinear")[0]
        self.angle = 0.0

    def cover(self, frame: Tensor, number: int, target: Tensor) -> bool:
        """Draw over a frame in place; whether a landmark is covered."""
        step = number % PASS_EVERY - (PASS_EVERY - PASS_FRAMES)
        if step < 0:
            return False
        if step == 0:
            self.angle = 2 * math.pi * float(torch.rand((), generator=self.generator))
        low, high = target.amin(0), target.amax(0)
        reach = float((high - low).max()) + self.side
        along = torch.tensor([math.cos(self.angle), math.sin(self.angle)]).double()
        corner = ((low + high) / 2 + (step / PASS_FRAMES - 0.5) * reach * along - self.side / 2).round().long().tolist()
        left, top = (max(0, each) for each in corner)
        right, bottom = (min(SIZE, each + self.side) for each in corner)
        if left >= right or top >= bottom:
            return False
        part = self.texture[:, top - corner[1] : bottom - corner[1], left - corner[0] : right - corner[0]]
        frame[:, top:bottom, left:right] = part
        inside = (target >= torch.tensor([left, top])) & (target < torch.tensor([right, bottom]))
        return bool(inside.all(-1).any())
