"""Photos and their landmarks turn together."""

import pytest
import torch

from benchmarks.turned_faces import measure, turn
from lgcn.geometry import landmark_box
from lgcn.predict import LandmarkPredictor, NoFaceWarning
from tests.predict.spots import SpotDetector, draw_spots, triangle


@pytest.mark.parametrize("degrees", [0, 30, 90, 180, 270])
def test_points_stay_on_what_they_mark(degrees: float) -> None:
    points = triangle(60.0, 40.0, size=40.0)
    image, moved = turn(draw_spots((120, 220), points, sigma=2.0), points, degrees)
    if degrees == 90:
        assert image.shape == (3, 220, 120)
    y, x = torch.meshgrid(*(torch.arange(size) for size in image.shape[1:]), indexing="ij")
    for light, point in zip(image.double(), moved, strict=True):
        centre = torch.stack([(light * x).sum(), (light * y).sum()]) / light.sum()
        assert (centre - point).abs().max() < 0.6


@pytest.mark.filterwarnings(f"ignore::{NoFaceWarning.__module__}.{NoFaceWarning.__name__}")
def test_a_face_that_is_not_found_is_a_failure() -> None:
    points = triangle(60.0, 40.0, size=40.0)
    photos = [(draw_spots((120, 220), points), points), (draw_spots((120, 100), points), points)]

    def in_wide_images(image: torch.Tensor) -> torch.Tensor:
        wrong = torch.tensor([0.0, 0.0, 30.0, 30.0])
        return torch.stack([landmark_box(points), wrong]) if image.shape[1:] == (120, 220) else torch.zeros(0, 4)

    predictor = LandmarkPredictor(SpotDetector(), in_wide_images, min_confidence=0.0)
    row = measure(predictor, photos, detect=True)
    assert row["as given"] == row["turned"] == {"failures": 1}
