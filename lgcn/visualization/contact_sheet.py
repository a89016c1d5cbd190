"""Many faces on one sheet, with the landmarks that were found and those that are true."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from lgcn.checks import InputError, check_shape
from lgcn.files import replace_when_done
from lgcn.geometry import crop_affine, transform_points, warp_image

# Told apart by people with any of the common colour blindnesses, and against skin (Okabe and Ito 2008).
_FOUND, _TRUE, _BETWEEN = "#56d9ff", "#ff8c1a", "#ffffff"

_TILE = 1.9
"""Inches: the side of a face."""
_CAPTION = 0.34
_HEAD = 0.42
_DPI = 150


@dataclass(frozen=True, eq=False)
class Tile:
    """A face on a contact sheet.

    Args:
        image: uint8 [3, h, w], RGB.
        landmarks: [K, 2] that were found, pixels of ``image``; not drawn where NaN. None: none are.
        target: [K, 2] that are true, likewise.
        caption: one or two lines beneath.
    """

    image: Tensor
    landmarks: Tensor | None = None
    target: Tensor | None = None
    caption: str = ""


def cut_tile(
    image: Tensor,
    box: Tensor,
    landmarks: Tensor | None = None,
    target: Tensor | None = None,
    caption: str = "",
    *,
    enlargement: float = 1.6,
    side: int = 285,
) -> Tile:
    """A tile with the square around a box of a picture.

    Args:
        image: uint8 [3, H, W].
        box: [4], pixels of ``image``.
        landmarks: [K, 2], pixels of ``image``, like ``target``.
        target: as for :class:`Tile`.
        caption: as there.
        enlargement: side of the square over the longer side of the box.
        side: of the tile, in pixels.
    """
    affine = crop_affine(box, (side, side), enlargement)
    found, true = (None if pos is None else transform_points(pos, affine) for pos in (landmarks, target))
    return Tile(warp_image(image, affine, (side, side)), found, true, caption)


def draw_contact_sheet(tiles: Sequence[Tile], *, columns: int = 4, title: str = "") -> Figure:
    """A figure of all tiles, row by row.

    Found landmarks are light blue dots, true ones orange rings, and a thin line joins the two.

    Args:
        tiles: at least one.
        columns: tiles in a row.
        title: over the sheet.

    Raises:
        InputError: for no tile, tiles whose landmarks are not [K, 2], or no column.
    """
    if not tiles or columns < 1:
        name, expected, got = ("columns", "1 or more", columns) if tiles else ("tiles", "at least one tile", "none")
        raise InputError(f"Expected '{name}' to be {expected} (got {got}).")
    columns = min(columns, len(tiles))
    rows = math.ceil(len(tiles) / columns)
    width, height = columns * _TILE, rows * (_TILE + _CAPTION) + _HEAD
    figure = Figure(figsize=(width, height), dpi=_DPI)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        bottom = height - _HEAD - (row + 1) * (_TILE + _CAPTION) + _CAPTION
        axes = figure.add_axes((column * _TILE / width, bottom / height, 0.98 * _TILE / width, 0.98 * _TILE / height))
        _draw_tile(axes, tile)
    marks = []
    if any(tile.landmarks is not None for tile in tiles):
        marks.append(Line2D([], [], color=_FOUND, marker="o", markeredgecolor="black", linestyle="", label="found"))
    if any(tile.target is not None for tile in tiles):
        marks.append(Line2D([], [], color=_TRUE, marker="o", fillstyle="none", linestyle="", label="true"))
    if title:
        # 0.55 of its size is the mean width of a letter; the legend takes an inch and a half.
        size = min(9.0, 72 * max(1.0, width - 1.5) / (0.55 * len(title)))
        figure.text(0.05 / width, 1 - _HEAD / 2 / height, title, va="center", fontsize=size, parse_math=False)
    if marks:
        figure.legend(handles=marks, loc="upper right", ncols=len(marks), fontsize=8, frameon=False)
    return figure


def save_contact_sheet(path: str | Path, tiles: Sequence[Tile], *, columns: int = 4, title: str = "") -> None:
    """Writes :func:`draw_contact_sheet` to a picture file, whole or not at all."""
    figure = draw_contact_sheet(tiles, columns=columns, title=title)
    FigureCanvasAgg(figure)
    with replace_when_done(path) as beside:
        figure.savefig(beside)


def _draw_tile(axes: Axes, tile: Tile) -> None:
    check_shape("image of a tile", tile.image, "3 H W")
    height, width = tile.image.shape[1:]
    axes.imshow(tile.image.permute(1, 2, 0).numpy(), aspect="equal")
    for name, pos in (("landmarks", tile.landmarks), ("target", tile.target)):
        if pos is not None:
            check_shape(f"{name} of a tile", pos, "K 2")
    if tile.landmarks is not None and tile.target is not None:
        pairs = [[found, true] for found, true in zip(tile.landmarks.tolist(), tile.target.tolist(), strict=True)]
        axes.add_collection(LineCollection(pairs, colors=_BETWEEN, linewidths=0.5, alpha=0.9))
    if tile.target is not None:
        x, y = tile.target.T.tolist()
        axes.scatter(x, y, s=7, facecolors="none", edgecolors=_TRUE, linewidths=0.8)
    if tile.landmarks is not None:
        x, y = tile.landmarks.T.tolist()
        axes.scatter(x, y, s=4, c=_FOUND, edgecolors="black", linewidths=0.25)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if tile.caption:
        axes.set_xlabel(tile.caption, fontsize=6.5, labelpad=2, parse_math=False)
