import pytest
import torch

from lgcn.checks import InputError
from lgcn.geometry import transform_points
from lgcn.predict import Face, align_face
from lgcn.schemes import LandmarkScheme
from tests.predict.spots import draw_spots

SCHEME = LandmarkScheme(name="eyes", names=("right", "left", "chin"), flip_pairs=((0, 1),))
POS = torch.tensor([[-15.0, -10.0], [15.0, -10.0], [0.0, 20.0]])


@pytest.mark.parametrize("angle", [0.0, 30.0, -80.0, 130.0, 180.0])
def test_the_crop_is_upright_and_the_transform_leads_to_it(angle: float) -> None:
    turn = torch.deg2rad(torch.tensor(angle))
    matrix = torch.stack([torch.stack([turn.cos(), -turn.sin()]), torch.stack([turn.sin(), turn.cos()])])
    pos = torch.tensor([60.0, 50.0]) + POS @ matrix.T
    face = Face(torch.zeros(4), pos, pos, torch.ones(3))
    crop, affine = align_face(draw_spots((100, 120), pos), face, SCHEME, 90, enlargement=1.5)
    assert crop.shape == (3, 90, 90)
    expected = torch.tensor([44.5, 44.5]) + 2 * (POS - torch.tensor([0.0, 5.0]))
    assert (transform_points(pos, affine) - expected).abs().max() < 0.01
    for colour, (x, y) in enumerate(expected.round().int().tolist()):
        assert crop[colour, y, x] > 200


def test_a_size_without_pixels_is_refused() -> None:
    face = Face(torch.zeros(4), POS, POS, torch.ones(3))
    with pytest.raises(InputError, match="'size' to be 8 or more"):
        align_face(torch.zeros(3, 9, 9, dtype=torch.uint8), face, SCHEME, 0)
