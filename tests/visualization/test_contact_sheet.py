from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from PIL import Image

from lgcn.checks import InputError
from lgcn.schemes import Contour, LandmarkScheme
from lgcn.visualization import Tile, cut_tile, draw_contact_sheet, save_contact_sheet

FOUND, TRUE = (0x56, 0xD9, 0xFF), (0xFF, 0x8C, 0x1A)


def ink(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.abs(pixels.astype(int) - colour).max(axis=-1) < 30


def test_a_tile_shows_the_square_around_the_box_with_its_landmarks() -> None:
    image = torch.zeros(3, 100, 120, dtype=torch.uint8)
    image[:, 40:60, 50:70] = 255
    box = torch.tensor([49.5, 39.5, 69.5, 59.5])
    tile = cut_tile(image, box, torch.tensor([[59.5, 49.5]]), torch.tensor([[49.5, 39.5]]), enlargement=2.0, side=80)
    assert tile.image.shape == (3, 80, 80)
    assert (tile.image[:, 22:58, 22:58] == 255).all() and (tile.image[:, :18] == 0).all()
    torch.testing.assert_close(tile.landmarks, torch.tensor([[39.5, 39.5]]))
    torch.testing.assert_close(tile.target, torch.tensor([[19.5, 19.5]]))


def test_found_and_true_landmarks_lie_where_they_should(tmp_path: Path) -> None:
    black = torch.zeros(3, 200, 200, dtype=torch.uint8)
    tiles = [
        Tile(black, torch.tensor([[50.0, 60.0], [150.0, 60.0]]), torch.tensor([[50.0, 140.0], [150.0, 60.0]]), "one"),
        Tile(black, None, torch.tensor([[100.0, 100.0], [torch.nan, torch.nan]]), "two"),
        Tile(black),
    ]
    save_contact_sheet(tmp_path / "sheet.png", tiles, columns=2, title="a_title with $")
    pixels = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB"))
    black_rows, black_columns = (np.flatnonzero((pixels.max(axis=-1) < 5).sum(axis=axis) > 150) for axis in (1, 0))
    top, left = black_rows[0], black_columns[0]
    side = np.flatnonzero(np.diff(black_columns) > 1)[0] + 1
    assert len(black_columns) == 2 * side, "two tiles in a row"

    def part(x: float, y: float, column: int = 0) -> np.ndarray:
        x0 = black_columns[column * side] + x * side / 200
        y0 = top + y * side / 200
        return pixels[int(y0) - 5 : int(y0) + 6, int(x0) - 5 : int(x0) + 6]

    assert ink(part(50, 60), FOUND).any() and not ink(part(50, 60), TRUE).any()
    assert ink(part(50, 140), TRUE).any() and not ink(part(50, 140), FOUND).any()
    assert part(50, 100).min(axis=-1).max() > 100, "a line between them"
    assert ink(part(150, 60), FOUND).any() and ink(part(150, 60), TRUE).any()
    assert ink(part(100, 100, column=1), TRUE).any()
    assert left < 10


def test_the_sheet_grows_with_its_tiles() -> None:
    tile = Tile(torch.zeros(3, 20, 20, dtype=torch.uint8), caption="x")
    sizes = [tuple(draw_contact_sheet(count * [tile]).get_size_inches()) for count in (1, 4, 5)]
    assert sizes[0][0] < sizes[1][0] == sizes[2][0]
    assert sizes[0][1] == sizes[1][1] < sizes[2][1]
    assert len(draw_contact_sheet(5 * [tile]).axes) == 5
    assert not draw_contact_sheet([tile]).legends


LONG = "worst faces of /home/somebody/experiments/runs/version_3/checkpoints/best.ckpt, refined landmarks: wflw test"


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("title", ["", "short", LONG, f"{LONG}, protocol hrnet, inter_ocular", 300 * "W"])
def test_the_head_can_be_read(count: int, title: str) -> None:
    pos = torch.full((2, 2), 9.0)
    figure = draw_contact_sheet(count * [Tile(torch.zeros(3, 20, 20, dtype=torch.uint8), pos, pos)], title=title)
    FigureCanvasAgg(figure).draw()
    (legend,) = figure.legends
    place = legend.get_window_extent()
    assert place.x0 >= 0 and place.x1 <= figure.bbox.width and place.y1 <= figure.bbox.height
    for text in figure.texts:
        box = text.get_window_extent()
        assert text.get_fontsize() > 7
        assert box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height
        assert not box.overlaps(place)
        assert "/home" not in text.get_text()
        assert box.y0 > max(axes.bbox.y1 for axes in figure.axes)
    assert place.y0 > max(axes.bbox.y1 for axes in figure.axes) - 8
    assert len(figure.texts) == bool(title)


def test_landmarks_found_beyond_the_box_enlarge_the_tile_up_to_a_limit() -> None:
    image, box = torch.zeros(3, 300, 300, dtype=torch.uint8), torch.tensor([100.0, 100.0, 200.0, 200.0])
    true = torch.tensor([[100.0, 100.0], [200.0, 200.0]])
    plain = cut_tile(image, box, true, true, side=160)
    # (100, 100) is 50 from the centre, of 80 that the tile shows.
    torch.testing.assert_close(plain.target, torch.tensor([[29.5, 29.5], [129.5, 129.5]]))
    off = torch.tensor([[100.0, 100.0], [300.0, 160.0]])
    tile = cut_tile(image, box, off, true, side=160)
    assert tile.landmarks is not None and tile.target is not None
    assert ((tile.landmarks > 0) & (tile.landmarks < 159)).all() and ((tile.target > 0) & (tile.target < 159)).all()
    for far in (torch.tensor([[100.0, 100.0], [2000.0, 160.0]]), torch.tensor([[torch.nan, 0.0], [torch.nan, 0.0]])):
        torch.testing.assert_close(cut_tile(image, box, far, true, side=160).target, plain.target)


def test_an_annotation_is_drawn_along_its_contours() -> None:
    scheme = LandmarkScheme(
        "five",
        ("left_a", "right_a", "b_right", "b_left", "chin"),
        flip_pairs=((0, 1), (2, 3)),
        contours=(Contour("right", (1, 2)), Contour("left", (0, 3)), Contour("chin", (3, 4))),
    )
    image, pos = torch.zeros(3, 40, 40, dtype=torch.uint8), 4.0 + 30 * torch.rand(5, 2)
    occlusion = torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0])
    figure = draw_contact_sheet([Tile(image, target=pos, scheme=scheme, occlusion=occlusion)])
    lines, dots = figure.axes[0].collections
    assert isinstance(lines, LineCollection)
    ends = [[pos[a].tolist(), pos[b].tolist()] for a, b in ((1, 2), (0, 3), (3, 4))]
    np.testing.assert_allclose([line.tolist() for line in lines.get_segments()], ends)
    right, left, middle = (to_rgba(colour) for colour in ("#ff8c1a", "#1fe0a8", "#ffffff"))
    assert [tuple(colour[:3]) for colour in lines.get_colors()] == [right[:3], left[:3], middle[:3]]
    assert [tuple(colour) for colour in dots.get_edgecolors()] == [left, right, right, left, middle]
    assert dots.get_facecolors()[:, 3].tolist() == [1, 0, 1, 1, 1]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["the person's right", "left", "covered"]
    with pytest.raises(InputError, match=r"target of a tile' to have shape \[K, 2\] with K=5"):
        draw_contact_sheet([Tile(image, target=pos[:3], scheme=scheme)])


def test_bad_input_is_named() -> None:
    tile = Tile(torch.zeros(3, 20, 20, dtype=torch.uint8))
    with pytest.raises(InputError, match="'tiles' to be at least one tile"):
        draw_contact_sheet([])
    with pytest.raises(InputError, match="'columns' to be 1 or more"):
        draw_contact_sheet([tile], columns=0)
    with pytest.raises(InputError, match=r"target of a tile' to have shape \[K, 2\]"):
        draw_contact_sheet([Tile(tile.image, target=torch.zeros(2, 3))])
    with pytest.raises(InputError, match=r"image of a tile' to have shape \[3, H, W\]"):
        draw_contact_sheet([Tile(torch.zeros(20, 20, 3))])
