"""A face cut out of a photo, with its landmarks and the edges into one of them; and which landmark a click hits."""

from dataclasses import replace
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from lgcn.checks import check_choice
from lgcn.geometry import landmark_box
from lgcn.predict import Face
from lgcn.schemes import LandmarkScheme
from lgcn.visualization import draw_landmarks

SIDE = 720
"""Pixels: the longer side of the drawn face."""
_MARGIN = 0.3
"""Of the face's longer side, on all sides."""

MARKS = ("contours", "ellipses", "initial", "confidence", "indices")
"""What can be drawn: names of arguments of :func:`lgcn.visualization.draw_landmarks`."""


class View(NamedTuple):
    """The part of a photo around a face, enlarged or reduced to :data:`SIDE` pixels."""

    left: int
    """Column of the photo, like the numbers below in its pixels."""
    top: int
    right: int
    """One more than the last column."""
    bottom: int

    @property
    def scale(self) -> float:
        """Pixels of the view in a pixel of the photo."""
        return SIDE / max(self.right - self.left, self.bottom - self.top)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels of the view."""
        scale = self.scale
        return max(1, round((self.right - self.left) * scale)), max(1, round((self.bottom - self.top) * scale))

    def from_photo(self, pos: Tensor) -> Tensor:
        """Points [..., 2] of the photo in pixels of the view."""
        return (pos - torch.tensor([self.left, self.top]) + 0.5) * self._factors() - 0.5

    def to_photo(self, pos: Tensor) -> Tensor:
        """Points [..., 2] of the view in pixels of the photo."""
        return (pos + 0.5) / self._factors() - 0.5 + torch.tensor([self.left, self.top])

    def _factors(self) -> Tensor:
        # The rounding of a size is a part of the scale.
        return torch.tensor(self.size) / torch.tensor([self.right - self.left, self.bottom - self.top])


def view_around(face: Face, photo: Tensor) -> View:
    """The view of a face in a photo [3, H, W]."""
    x0, y0, x1, y1 = landmark_box(face.landmarks).tolist()
    margin = _MARGIN * max(x1 - x0, y1 - y0, 8.0)
    height, width = photo.shape[1:]
    left, top = max(0, int(x0 - margin)), max(0, int(y0 - margin))
    left, top = min(left, width - 1), min(top, height - 1)
    right, bottom = min(width, int(x1 + margin) + 1), min(height, int(y1 + margin) + 1)
    return View(left, top, max(right, left + 1), max(bottom, top + 1))


def draw_face(
    photo: Tensor,
    face: Face,
    scheme: LandmarkScheme,
    view: View,
    *,
    marks: tuple[str, ...] = ("contours",),
    landmark: str | None = None,
    strongest: int = 8,
) -> Image.Image:
    """The view of a face with its landmarks.

    Args:
        photo: uint8 [3, H, W], painted or not.
        face: in ``photo``.
        scheme: of its landmarks.
        view: see :func:`view_around`.
        marks: some of :data:`MARKS`.
        landmark: name of a landmark the strongest edges into which are drawn; needs a face with edge weights.
        strongest: number of these edges.

    Raises:
        InputError: for an unknown mark or landmark, and as :func:`lgcn.visualization.draw_landmarks` does.
    """
    for mark in marks:
        check_choice("marks", mark, MARKS)
    part = photo[:, view.top : view.bottom, view.left : view.right].permute(1, 2, 0)
    image = Image.fromarray(part.contiguous().numpy()).resize(view.size, Image.Resampling.LANCZOS)
    connectivity = None
    if landmark is not None:
        check_choice("landmark", landmark, scheme.names)
        connectivity = _edges_into(scheme.names.index(landmark), face.connectivity)
    moved = replace(
        face,
        box=view.from_photo(face.box.reshape(2, 2)).flatten(),
        landmarks=view.from_photo(face.landmarks),
        initial=view.from_photo(face.initial),
        connectivity=connectivity,
        covariance=None if face.covariance is None else face.covariance * view.scale**2,
    )
    drawn = dict.fromkeys(MARKS, False) | dict.fromkeys(marks, True)
    edges = 0 if landmark is None else strongest
    return draw_landmarks(image, [moved], scheme, edges=edges, upscale=1, **drawn)


def nearest_landmark(face: Face, scheme: LandmarkScheme, view: View, x: float, y: float) -> str:
    """The name of the landmark nearest to the point (x, y) of a view."""
    point = view.to_photo(torch.tensor([x, y], dtype=torch.float32))
    return scheme.names[int((face.landmarks - point).norm(dim=1).argmin())]


def _edges_into(number: int, connectivity: Tensor | None) -> Tensor | None:
    """Edge weights [K, K] without those into other landmarks."""
    if connectivity is None:
        return None
    row = torch.zeros_like(connectivity)
    row[number] = connectivity[number]
    return row
