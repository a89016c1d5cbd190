"""Photos and their landmarks turn together."""

import pytest
import torch

from benchmarks.turned_faces import turn
from tests.predict.spots import draw_spots, triangle


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
