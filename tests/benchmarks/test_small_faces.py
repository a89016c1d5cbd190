"""Small faces are where their landmarks say, and a face that is missed is counted."""

import torch
from torchvision.transforms.functional import pil_to_tensor

from benchmarks.small_faces import CANVAS, measure, scenes
from lgcn.geometry import landmark_box
from lgcn.predict import LandmarkPredictor
from tests.predict.spots import SpotDetector, draw_spots, triangle


class Photos:
    """Faces like those of a dataset: spots of light."""

    pos = torch.stack([triangle(60.0, 40.0, size=40.0), triangle(20.0, 30.0, size=70.0)])

    def read_image(self, number: int) -> torch.Tensor:
        return draw_spots((120, 220), self.pos[number], sigma=3.0)


def test_faces_have_the_size_and_lie_where_their_points_do() -> None:
    ((picture, points),) = scenes(Photos(), [0, 1], size=30)  # type: ignore[arg-type]
    assert picture.size == CANVAS
    for pos in points:
        box = landmark_box(pos)
        assert float((box[2:] - box[:2]).max()) == 30
        for colour, (x, y) in enumerate(pos.round().int().tolist()):
            assert pil_to_tensor(picture)[colour, y, x] > 150

    def finds_one(image: torch.Tensor) -> torch.Tensor:
        return landmark_box(points[0])[None]

    row = measure(LandmarkPredictor(SpotDetector(), finds_one, min_confidence=0.0), [(picture, points)])
    assert (row["faces"], row["found"], row["found_and_false"]) == (2, 1, 1)
