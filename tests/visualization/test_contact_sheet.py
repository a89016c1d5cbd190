from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lgcn.checks import InputError
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
