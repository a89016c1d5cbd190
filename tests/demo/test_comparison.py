"""The functions behind the page, on a photo with one face; and on lists of edges by hand."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from lgcn import LandmarkPredictor
from lgcn.checks import InputError
from lgcn.demo import (
    Comparison,
    add_paint,
    compare,
    draw_face,
    effect_of_paint,
    listens_to,
    nearest_landmark,
    view_around,
)
from lgcn.demo.text import describe_faces, effect_table, listening_table
from lgcn.images import as_image_tensor
from lgcn.predict import Face

PHOTO = Path(__file__).resolve().parents[2] / "examples" / "astronaut.jpg"
MOUTH = (200, 140, 252, 172)


@pytest.fixture(scope="module")
def predictor() -> LandmarkPredictor:
    return LandmarkPredictor.from_pretrained("lgcn-68")


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    return as_image_tensor(PHOTO)


def layer(*rectangles: tuple[int, int, int, int], alpha: int = 255) -> Image.Image:
    paint = Image.new("RGBA", (512, 512))
    for rectangle in rectangles:
        ImageDraw.Draw(paint).rectangle(rectangle, fill=(128, 128, 128, alpha))
    return paint


@pytest.fixture(scope="module")
def comparisons(predictor: LandmarkPredictor, photo: torch.Tensor) -> tuple[Comparison, Comparison]:
    """Without a stroke, and with the mouth painted over."""
    (face,) = predictor(photo)
    without, over_mouth = (compare(predictor, photo, *add_paint(photo, each), face) for each in ([], [layer(MOUTH)]))
    return without, over_mouth


def test_paint_covers_what_it_is_drawn_over(photo: torch.Tensor) -> None:
    painted, mask = add_paint(photo, [layer(MOUTH), layer((0, 0, 9, 9), alpha=50)])
    x0, y0, x1, y1 = MOUTH
    assert mask.sum() == (x1 - x0 + 1) * (y1 - y0 + 1)
    assert mask[y0 : y1 + 1, x0 : x1 + 1].all()
    assert (painted[:, mask] == 128).all()
    faint = torch.zeros_like(mask)
    faint[:10, :10] = True
    assert torch.equal(painted[:, ~mask & ~faint], photo[:, ~mask & ~faint])
    assert not torch.equal(painted[:, faint], photo[:, faint])
    with pytest.raises(InputError, match=r"512 x 512 .*got \(9, 9\)"):
        add_paint(photo, [Image.new("RGBA", (9, 9))])


def test_without_a_stroke_nothing_changes(comparisons: tuple[Comparison, Comparison]) -> None:
    without, _ = comparisons
    assert not without.under_brush.any()
    everywhere = effect_of_paint(without, ~without.under_brush)
    assert everywhere.landmarks == 68
    assert everywhere.initial_shift == everywhere.refined_shift == 0
    assert everywhere.expected_error[0] == everywhere.expected_error[1] > 0
    assert math.isnan(effect_of_paint(without, without.under_brush).confidence[0]), "there are none"
    assert "No landmark is painted over" in effect_table(without)


def test_errors_grow_under_the_brush(comparisons: tuple[Comparison, Comparison]) -> None:
    _, painted = comparisons
    x, y = painted.seen.landmarks.round().T
    x0, y0, x1, y1 = MOUTH
    assert torch.equal(painted.under_brush, (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1))
    under, others = (effect_of_paint(painted, which) for which in (painted.under_brush, ~painted.under_brush))
    assert under.landmarks + others.landmarks == 68
    assert under.expected_error[1] > 1.3 * under.expected_error[0]
    assert under.confidence[1] < under.confidence[0] - 0.1
    assert under.believed_covered[1] > under.landmarks / 2
    assert others.believed_covered[1] <= 2
    assert under.initial_shift > 2 * others.initial_shift
    table = effect_table(painted)
    assert f"{under.landmarks} landmarks under the brush" in table
    assert f"{under.expected_error[0]:.1f} → {under.expected_error[1]:.1f}" in table


def test_a_covered_landmark_listens_more_to_others(
    predictor: LandmarkPredictor, comparisons: tuple[Comparison, Comparison]
) -> None:
    _, painted = comparisons
    scheme = predictor.detector.scheme
    seen, covered = (
        face.connectivity.diagonal()[painted.under_brush].mean() for face in (painted.seen, painted.painted)
    )
    assert covered < 0.7 * seen
    own, *others = listens_to(painted, scheme, "right_mouth_corner", strongest=5)
    assert own.name == "right_mouth_corner"
    assert own.painted < own.seen
    row = painted.painted.connectivity[48]
    assert own.painted == row[48]
    rest = torch.cat([row[:48], row[49:]])
    assert [each.painted for each in others] == rest.sort(descending=True).values[:5].tolist()
    assert "| itself " in listening_table(painted, scheme, "right_mouth_corner")
    assert "Click a landmark" in listening_table(painted, scheme, None)
    with pytest.raises(InputError, match="landmark"):
        listens_to(painted, scheme, "third eye")


def test_what_a_model_does_not_know_is_said(
    predictor: LandmarkPredictor, comparisons: tuple[Comparison, Comparison]
) -> None:
    _, painted = comparisons
    plain = {"connectivity": None, "covariance": None, "expected_error": None, "covered": None}
    known = replace(painted, seen=replace(painted.seen, **plain), painted=replace(painted.painted, **plain))
    assert "holds no edges" in listening_table(known, predictor.detector.scheme, "chin")
    with pytest.raises(InputError, match="edge weights"):
        listens_to(known, predictor.detector.scheme, "chin")
    assert re.search(r"expected error, pixels +\| – +\| – ", effect_table(known))
    assert describe_faces([known.seen] * 2, known).startswith("2 faces were found. Its score is")


@pytest.mark.parametrize("zoom", [0.5, 1, 4])
def test_a_click_on_a_landmark_finds_it(
    predictor: LandmarkPredictor, comparisons: tuple[Comparison, Comparison], photo: torch.Tensor, zoom: float
) -> None:
    face = comparisons[0].seen
    face = replace(face, landmarks=zoom * face.landmarks, initial=zoom * face.initial, box=zoom * face.box)
    image = torch.nn.functional.interpolate(photo[None].float(), scale_factor=zoom)[0].to(torch.uint8)
    scheme, view = predictor.detector.scheme, view_around(face, image)
    assert max(view.size) == 720
    assert torch.allclose(view.to_photo(view.from_photo(face.landmarks)), face.landmarks, atol=1e-3)
    for number in (8, 30, 48):
        assert (
            nearest_landmark(face, scheme, view, *view.from_photo(face.landmarks[number]).tolist())
            == (scheme.names[number])
        )
    drawn = draw_face(image, face, scheme, view, marks=(), landmark=None)
    assert drawn.size == view.size
    x, y = view.from_photo(face.landmarks[30]).round().int().tolist()
    assert drawn.getpixel((x, y)) == (0x56, 0xD9, 0xFF), "the dot of the tip of the nose"


def test_the_edges_of_the_chosen_landmark_are_drawn(
    predictor: LandmarkPredictor, comparisons: tuple[Comparison, Comparison], photo: torch.Tensor
) -> None:
    face, scheme = comparisons[1].painted, predictor.detector.scheme
    view = view_around(face, photo)
    plain, chosen, other = (
        torch.from_numpy(np.array(draw_face(photo, face, scheme, view, landmark=name, strongest=3)))
        for name in (None, "right_mouth_corner", "chin")
    )
    around = view.from_photo(face.landmarks[48]).round().int().tolist()
    changed = (plain != chosen).any(dim=-1)
    assert changed[around[1] - 20 : around[1] + 20, around[0] - 20 : around[0] + 20].any()
    assert not torch.equal(chosen, other)
    with pytest.raises(InputError, match="marks"):
        draw_face(photo, face, scheme, view, marks=("halos",))


def test_a_face_at_the_border_has_a_view() -> None:
    outside = torch.tensor([[-30.0, -20.0], [-10.0, -5.0]])
    face = Face(torch.tensor([-30.0, -20.0, 5.0, 5.0]), outside, outside, torch.ones(2))
    view = view_around(face, torch.zeros(3, 40, 50))
    assert view.right > view.left >= 0
    assert view.bottom > view.top >= 0
