"""Face boxes of a picture: are they usable, and where the next one lies."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lgcn.checks import InputError, check_shape
from lgcn.geometry import landmark_box

BoxesLike = Tensor | np.ndarray | Sequence[float] | Sequence[Sequence[float]]
"""Boxes of one picture: [F, 4], or [4] for one; (x0, y0, x1, y1) in pixels."""


def check_boxes(boxes: BoxesLike, image: Tensor, name: str) -> Tensor:
    """Boxes as float32 [F, 4] if each is finite, has an area and shares some of it with the picture.

    Args:
        boxes: [F, 4], or [4] for one.
        image: [3, H, W], the picture.
        name: what the message calls the picture.

    Raises:
        InputError: naming the picture and the box.
    """
    try:
        found = torch.as_tensor(np.asarray(boxes) if not isinstance(boxes, Tensor) else boxes)
        found = found.detach().to("cpu", torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"Expected 'boxes' of '{name}' to be numbers of shape [F, 4] (got {boxes!r}).") from error
    if found.numel() == 0:
        return torch.zeros(0, 4)
    if found.ndim == 1:
        found = found[None]
    check_shape(f"boxes of {name}", found, "F 4")
    height, width = image.shape[1:]
    for number, box in enumerate(found):
        x0, y0, x1, y1 = box.tolist()
        wrong = None
        if not torch.isfinite(box).all():
            wrong = "it is not finite"
        elif x1 <= x0 or y1 <= y0:
            wrong = "it has no area; a box is (x0, y0, x1, y1) with x1 > x0 and y1 > y0"
        elif x1 <= -0.5 or y1 <= -0.5 or x0 >= width - 0.5 or y0 >= height - 0.5:
            wrong = f"it lies outside the picture of {width} x {height} pixels"
        if wrong:
            raise InputError(
                f"Expected every box of '{name}' to lie on the picture at least in part "
                f"(got box {number} = [{x0:g}, {y0:g}, {x1:g}, {y1:g}]: {wrong})."
            )
    return found


def tight_boxes(pos: Tensor, before: Tensor, images: Sequence[Tensor]) -> Tensor:
    """The boxes around landmarks [F, K, 2], as protocols have them; the earlier box where that is no face's.

    A network that has found no face can return landmarks in one spot, or outside the picture.
    """
    tight = landmark_box(pos)
    tight = torch.cat([tight[:, :2].floor(), tight[:, 2:].ceil()], dim=1)
    size = (tight[:, 2:] - tight[:, :2]).amin(dim=1)
    border = tight.new_tensor([[image.shape[2], image.shape[1]] for image in images])
    on_image = ((tight[:, 2:] > 0) & (tight[:, :2] < border - 1)).all(dim=1)
    shared = (torch.minimum(tight[:, 2:], before[:, 2:]) - torch.maximum(tight[:, :2], before[:, :2])).amin(dim=1)
    return torch.where(((size >= 2) & on_image & (shared > 0))[:, None], tight, before)
