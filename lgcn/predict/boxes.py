"""Face boxes of an image: check them, and derive the next ones from landmarks."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lgcn.checks import InputError, check_shape
from lgcn.geometry import landmark_box

BoxesLike = Tensor | np.ndarray | Sequence[float] | Sequence[Sequence[float]]
"""Boxes of one image: [F, 4], or [4] for one; (x0, y0, x1, y1) in pixels."""

_LARGEST_FRACTION = 2.0
"""Coordinates up to this, in an image of at least ``_LEAST_SIDE`` pixels, are fractions of the image, not pixels."""
_LEAST_SIDE = 16

_ROLL_CORRECTED = 20.0
"""Degrees: a face that is turned by more in its crop is cropped upright in the next; training covers less."""


def check_boxes(boxes: BoxesLike, image: Tensor, name: str) -> Tensor:
    """Boxes as float32 [F, 4] if each is finite, has an area and overlaps the image.

    Args:
        boxes: [F, 4], or [4] for one.
        image: [3, H, W].
        name: name of the image in messages.

    Raises:
        InputError: naming the image, the box and its fault; also for boxes in fractions of the image.
    """
    try:
        # A copy: torch warns about read-only arrays and refuses foreign byte orders.
        own = boxes.detach().cpu() if isinstance(boxes, Tensor) else torch.from_numpy(np.array(boxes, dtype=np.float64))
        found = own.to(torch.float32)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InputError(f"Expected 'boxes' of '{name}' to be numbers of shape [F, 4] (got {boxes!r}).") from error
    if found.numel() == 0:
        return torch.zeros(0, 4)
    if found.ndim == 1:
        found = found[None]
    check_shape(f"boxes of {name}", found, "F 4")
    height, width = image.shape[1:]
    for number, box in enumerate(found):
        problem = _problem(box, height, width)
        if problem:
            x0, y0, x1, y1 = box.tolist()
            raise InputError(
                f"Expected every box of '{name}' to overlap the image "
                f"(got box {number} = [{x0:g}, {y0:g}, {x1:g}, {y1:g}]: {problem})."
            )
    return found


def _problem(box: Tensor, height: int, width: int) -> str | None:
    """The fault of a box [4] and its remedy; None if it has none."""
    x0, y0, x1, y1 = box.tolist()
    if not torch.isfinite(box).all():
        return "it is not finite"
    if x0 == y0 == x1 == y1:
        return "all its numbers are equal; leave the box out if it marks no face"
    if max(height, width) >= _LEAST_SIDE and box.abs().max() <= _LARGEST_FRACTION:
        return (
            "these are fractions of the image, not pixels; multiply x0 and x1 by its width "
            f"{width}, and y0 and y1 by its height {height}"
        )
    if x1 <= x0 or y1 <= y0:
        return (
            "it has no area; a box is (x0, y0, x1, y1) with x1 > x0 and y1 > y0, so if it is (x, y, width, height), "
            "add x to the width and y to the height"
        )
    if x1 <= -0.5 or y1 <= -0.5 or x0 >= width - 0.5 or y0 >= height - 0.5:
        return f"it lies outside the image of {width} x {height} pixels"
    return None


def tight_boxes(pos: Tensor, before: Tensor, images: Sequence[Tensor], rotation: Tensor | None = None) -> Tensor:
    """The tight boxes around landmarks [F, K, 2], as protocols define them; ``before`` where that is not a face's box.

    If a crop shows no face, the network can return landmarks in one spot, or outside the image.

    Args:
        pos: landmarks in pixels of the image.
        before: [F, 4], the boxes by which the landmarks were predicted.
        images: [3, H, W] each, the image of each face.
        rotation: [F], degrees by which each crop is turned clockwise about its box, which is then tight in the crop.
    """
    tight = rotated_box(pos, pos.new_zeros(len(pos)) if rotation is None else rotation, whole=True)
    size = (tight[:, 2:] - tight[:, :2]).amin(dim=1)
    border = tight.new_tensor([[image.shape[2], image.shape[1]] for image in images])
    on_image = ((tight[:, 2:] > 0) & (tight[:, :2] < border - 1)).all(dim=1)
    shared = (torch.minimum(tight[:, 2:], before[:, 2:]) - torch.maximum(tight[:, :2], before[:, :2])).amin(dim=1)
    return torch.where(((size >= 2) & on_image & (shared > 0))[:, None], tight, before)


def rotated_box(pos: Tensor, rotation: Tensor, *, whole: bool = False) -> Tensor:
    """Boxes [F, 4] whose crops, turned by rotations [F], are tight around landmarks [F, K, 2].

    With ``whole`` their corners are rounded outwards to whole pixels, as protocols do, after the turn.
    """
    centre = pos.mean(dim=1, keepdim=True) * (rotation != 0)[:, None, None]
    turn = rotation_matrix(rotation)
    box = landmark_box(centre + (pos - centre) @ turn.mT)
    if whole:
        box = torch.cat([box[:, :2].floor(), box[:, 2:].ceil()], dim=1)
    middle, half = (box[:, :2] + box[:, 2:]) / 2, (box[:, 2:] - box[:, :2]) / 2
    middle = (centre + (middle[:, None] - centre) @ turn)[:, 0]
    return torch.cat([middle - half, middle + half], dim=1)


def rotation_matrix(degrees: Tensor) -> Tensor:
    """The matrices [F, 2, 2] that turn columns (x, y) clockwise, as seen, by angles [F]."""
    cos, sin = degrees.deg2rad().cos(), degrees.deg2rad().sin()
    return torch.stack([cos, -sin, sin, cos], dim=-1).unflatten(-1, (2, 2))


def landmark_roll(pos: Tensor, flip_pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Degrees [F], -90 to 90, by which faces with landmarks [F, K, 2] are turned clockwise; 0 without pairs.

    It is the mean direction from the landmarks on one side of the face to their partners on the other.
    """
    if not flip_pairs:
        return pos.new_zeros(len(pos))
    first, second = torch.tensor(flip_pairs).T
    across = pos[:, second] - pos[:, first]
    across = across.where(across[..., :1] >= 0, -across).sum(dim=1)
    return torch.atan2(across[:, 1], across[:, 0]).rad2deg()


def pair_direction(pos: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Degrees [F], -180 to 180, clockwise from the x axis: the mean direction from the first of a pair to the second.

    Args:
        pos: landmarks [F, K, 2].
        pairs: of landmarks, one or more.
    """
    first, second = torch.tensor(pairs).T
    across = (pos[:, second] - pos[:, first]).sum(dim=1)
    return torch.atan2(across[:, 1], across[:, 0]).rad2deg()


def upright_rotation(pos: Tensor, rotation: Tensor, flip_pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Rotations [F] in degrees of the next crops, in which faces are upright; changed only by more than 20 degrees.

    Args:
        pos: landmarks [F, K, 2] in pixels of the image.
        rotation: [F], by which the crops were turned clockwise in which the landmarks were predicted.
        flip_pairs: of the landmark scheme.
    """
    roll = landmark_roll(pos @ rotation_matrix(rotation).mT, flip_pairs)
    return torch.where(roll.abs() > _ROLL_CORRECTED, rotation - roll, rotation)
