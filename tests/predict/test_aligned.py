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


@pytest.mark.parametrize("count", [1, 3])
def test_landmarks_in_one_place_take_the_box_of_the_face(count: int) -> None:
    pos = torch.full((count, 2), 40.1)
    face = Face(torch.tensor([20.0, 30.0, 59.0, 69.0]), pos, pos, torch.ones(count))
    scheme = SCHEME if count == 3 else LandmarkScheme(name="tip", names=("tip",))
    _, affine = align_face(torch.zeros(3, 90, 90, dtype=torch.uint8), face, scheme, 40, enlargement=1.0)
    corners = transform_points(face.box.view(2, 2), affine)
    assert (corners.diff(dim=0) - 40).abs().max() < 1.1 and corners.mean().item() == pytest.approx(19.5, abs=0.5)


def test_a_size_without_pixels_is_refused() -> None:
    face = Face(torch.zeros(4), POS, POS, torch.ones(3))
    with pytest.raises(InputError, match="'size' to be 8 or more"):
        align_face(torch.zeros(3, 9, 9, dtype=torch.uint8), face, SCHEME, 0)
