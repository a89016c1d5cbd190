"""Face detection: the interface, and a cascade, which needs no weights."""

from collections.abc import Sequence
from copy import copy
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from lgcn.checks import InputError, check_shape
from lgcn.predict.lbp_cascade import LBPCascade


class FaceDetector(Protocol):
    """Interface of a face detector: any such callable can be given to :class:`lgcn.predict.LandmarkPredictor`.

    The boxes need not fit tightly around the landmarks: with two passes or more the predictor corrects them.
    """

    def __call__(self, image: Tensor) -> Tensor:
        """uint8 [3, H, W] RGB -> boxes [F, 4] (x0, y0, x1, y1) in pixels; [0, 4] if there is no face."""
        ...


class CascadeFaceDetector:
    """Frontal faces by the LBP cascade that scikit-image ships (Liao et al. 2007, Viola and Jones 2001).

    The square that the cascade returns is moved and scaled to the box around the landmarks, which the crop of a
    protocol is defined by. The thresholds are chosen to miss few faces at the cost of false positives, which the
    predictor drops by the confidence of their landmarks.

    Args:
        max_side: larger images are shrunk to this for the search, in pixels.
        min_face: side of the smallest face looked for, over the longer side of the image.
        min_neighbors: windows that must agree on a face; more of them give fewer false positives and miss more faces.

    Raises:
        InputError: for a value out of range.
    """

    CENTRE_SHIFT = (0.0, 0.153)
    """Centre of the tight landmark box minus centre of the cascade's square, (x, y) over the square's side.

    Like ``SIZE`` a median over the 1818 of 2012 training faces of 300-W in which the cascade finds the face, as
    ``benchmarks/face_box_calibration.py`` measures them; x is 0 for symmetry. The crops that follow have an
    IoU of 0.78 with those of the true boxes, and of 0.60 without these constants.
    """
    SIZE = (0.866, 0.846)
    """Width and height of the tight landmark box over the square's side."""

    def __init__(self, max_side: int = 640, min_face: float = 0.05, min_neighbors: int = 2) -> None:
        if not max_side >= _SMALLEST_WINDOW:
            raise InputError(f"Expected 'max_side' to be {_SMALLEST_WINDOW} or more (got {max_side}).")
        if not 0 < min_face <= 1:
            raise InputError(f"Expected 'min_face' to be in (0, 1] (got {min_face}).")
        if not min_neighbors >= 1:
            raise InputError(f"Expected 'min_neighbors' to be 1 or more (got {min_neighbors}).")
        self.max_side = max_side
        self.min_face = min_face
        self.min_neighbors = min_neighbors
        self._cascade = _load_cascade()

    def __call__(self, image: Tensor) -> Tensor:
        """Boxes [F, 4] of about the tight landmark box, in pixels of the image, large to small."""
        squares = self.find_squares(image)
        side = squares[:, 2:3] - squares[:, 0:1]
        centre = (squares[:, :2] + squares[:, 2:]) / 2 + side * squares.new_tensor(self.CENTRE_SHIFT)
        half = side * squares.new_tensor(self.SIZE) / 2
        return torch.cat([centre - half, centre + half], dim=1)

    def smallest_face(self, size: Sequence[int]) -> int:
        """The side of the smallest square that is looked for in an image of (H, W), in its pixels."""
        longer = max(size)
        zoom = min(1.0, self.max_side / longer)
        return round(max(_SMALLEST_WINDOW, self.min_face * zoom * longer) / zoom)

    def finer(self) -> "CascadeFaceDetector":
        """One that looks for faces of a third of the size, where the image has the pixels for it."""
        finer = copy(self)  # the cascade is not loaded again
        finer.max_side, finer.min_face = _FINER * self.max_side, self.min_face / _FINER
        return finer

    def find_squares(self, image: Tensor) -> Tensor:
        """The cascade's own squares [F, 4], in pixels of the image, large to small."""
        check_shape("image", image, "3 H W")
        height, width = image.shape[1:]
        longer = max(height, width)
        zoom = min(1.0, self.max_side / longer)
        small = (round(height * zoom), round(width * zoom))
        if min(small) < _SMALLEST_WINDOW:
            return torch.zeros(0, 4)
        if zoom < 1:
            image = F.interpolate(image[None], small, mode="bilinear", antialias=True)[0]
        grey = (image.cpu().float() * torch.tensor(_LUMA)[:, None, None]).sum(dim=0)
        squares = self._cascade.search(grey, max(_SMALLEST_WINDOW, self.min_face * longer * zoom), _SCALE_FACTOR)
        # The origin of the cascade is the corner of the first pixel; ours is its centre.
        squares = squares * squares.new_tensor([width / small[1], height / small[0]]).repeat(2) - 0.5
        return _largest_of_overlapping(_grouped(squares, self.min_neighbors))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(max_side={self.max_side}, min_face={self.min_face}, "
            f"min_neighbors={self.min_neighbors})"
        )


# Smaller windows (the cascade was trained on 24 pixels) find faces in any texture.
_SMALLEST_WINDOW = 32
_SCALE_FACTOR = 1.1
_FINER = 3
_LUMA = (0.2125, 0.7154, 0.0721)
_SAME_FACE = 0.3
"""IoU of squares that show the same face: the cascade sees a face at sides that differ by half and more."""


def _load_cascade() -> LBPCascade:
    # Imported only here: it is not needed with given boxes or another detector.
    from skimage.data import lbp_frontal_face_cascade_filename

    return LBPCascade(lbp_frontal_face_cascade_filename())


def _grouped(squares: Tensor, least: int) -> Tensor:
    """The mean of every group of ``least`` squares or more that show the same face."""
    area, corners = _area(squares), squares[:, None]
    shared = torch.minimum(corners[..., 2:], squares[:, 2:]) - torch.maximum(corners[..., :2], squares[:, :2])
    shared = shared.clamp(min=0).prod(dim=-1)
    same = shared / (area[:, None] + area - shared) > _SAME_FACE
    groups: list[Tensor] = []
    while len(squares):
        count = same.sum(dim=1)
        members = same[int(count.argmax())]
        if members.sum() < least:
            break
        groups.append(squares[members].mean(dim=0))
        squares, same = squares[~members], same[~members][:, ~members]
    return torch.stack(groups) if groups else squares[:0]


def _largest_of_overlapping(squares: Tensor) -> Tensor:
    """Squares from large to small, without those of which more than a third lies in a larger one.

    Not :func:`torchvision.ops.nms`: a nostril inside a face has almost no IoU with it.
    """
    squares = squares[_area(squares).argsort(descending=True)]
    kept: list[Tensor] = []
    for square in squares:
        others = torch.stack(kept) if kept else squares[:0]
        shared = torch.minimum(square[2:], others[:, 2:]) - torch.maximum(square[:2], others[:, :2])
        if not (shared.clamp(min=0).prod(dim=1) > _area(square[None]) / 3).any():
            kept.append(square)
    return torch.stack(kept) if kept else squares


def _area(squares: Tensor) -> Tensor:
    return (squares[:, 2:] - squares[:, :2]).prod(dim=1)
