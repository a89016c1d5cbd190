"""Videos of spots of light, and predictors that follow them."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lgcn.geometry import landmark_box
from lgcn.predict import LandmarkPredictor
from tests.predict.spots import SpotDetector, draw_spots, triangle

SIZE = (120, 220)


class KnownFaces:
    """A face detector that knows where the faces are; counts its calls."""

    def __init__(self) -> None:
        self.faces: Sequence[Tensor] = ()
        self.calls = 0

    def __call__(self, image: Tensor) -> Tensor:
        self.calls += 1
        return torch.stack([landmark_box(face) for face in self.faces]) if self.faces else torch.zeros(0, 4)


def spot_predictor(found: KnownFaces) -> LandmarkPredictor:
    """Its landmarks are within a few tenths of a pixel of the spots; its score is the share of spots that are lit."""
    return LandmarkPredictor(SpotDetector(), found, min_confidence=0.5, turned=False)  # type: ignore[arg-type]


def two_faces(frame: int) -> list[Tensor]:
    """Two faces that move past each other."""
    return [triangle(20.0 + 2 * frame, 15.0), triangle(150.0 - 2 * frame, 70.0, size=35.0)]


def frames(found: KnownFaces, scenes: Sequence[Sequence[Tensor]]) -> Iterator[Tensor]:
    """The image of each scene; the face detector finds its faces."""
    for faces in scenes:
        found.faces = faces
        yield draw_spots(SIZE, *faces)
