"""Contact sheets: many faces in one plot, with predicted and true landmarks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from lgcn.checks import InputError, check_shape
from lgcn.files import printable, write_from_memory
from lgcn.geometry import crop_affine, crop_region, landmark_box, transform_points, warp_image
from lgcn.schemes import LandmarkScheme
from lgcn.visualization.layout import fit_text, shorten_paths, text_width

# Distinguishable with any of the common colour blindnesses, and against skin (Okabe and Ito 2008).
_FOUND, _TRUE, _BETWEEN = "#56d9ff", "#ff8c1a", "#ffffff"
_RIGHT, _LEFT, _MIDDLE = _TRUE, "#1fe0a8", "#ffffff"

_TILE = 1.9
"""Inches: the side of a face."""
_CAPTION = 0.34
_HEAD, _LINE = 0.42, 0.17
"""Inches: the head without and with one line, and a further line of the title."""
_LEAST_WIDTH = 2 * _TILE
"""Inches: of a sheet, so that its head stays legible over a single tile."""
_TITLE_FONT, _LEGEND_FONT = 9.0, 8.0
_DPI = 150


@dataclass(frozen=True, eq=False)
class Tile:
    """A face on a contact sheet.

    Args:
        image: uint8 [3, h, w], RGB.
        landmarks: [K, 2] that were found, pixels of ``image``; not drawn where NaN. None: none are.
        target: [K, 2] that are true, likewise.
        caption: one or two lines beneath.
        scheme: landmark scheme. Draws the true ones along its contours, the person's right and left in two
            colours, so that landmarks in a wrong order show.
        occlusion: [K], 1 where a true landmark is covered; drawn hollow, with ``scheme`` only.
    """

    image: Tensor
    landmarks: Tensor | None = None
    target: Tensor | None = None
    caption: str = ""
    scheme: LandmarkScheme | None = None
    occlusion: Tensor | None = None


def cut_tile(
    image: Tensor,
    box: Tensor,
    landmarks: Tensor | None = None,
    target: Tensor | None = None,
    caption: str = "",
    *,
    enlargement: float = 1.6,
    side: int = 285,
    furthest: float = 3.0,
    scheme: LandmarkScheme | None = None,
    occlusion: Tensor | None = None,
) -> Tile:
    """A tile with the square around a box of an image, or a larger one that shows the landmarks found beyond it.

    Args:
        image: uint8 [3, H, W].
        box: [4], pixels of ``image``.
        landmarks: [K, 2], pixels of ``image``, like ``target``.
        target: as for :class:`Tile`.
        caption: as there.
        enlargement: side of the square over the longer side of the box.
        side: of the tile, in pixels.
        furthest: landmarks found beyond the square enlarge it if they lie within so many halves of it from its centre.
        scheme: as for :class:`Tile`, like ``occlusion``.
        occlusion: as there.
    """
    region = crop_region(box, enlargement)
    if landmarks is not None:
        centre, half = (region[:2] + region[2:]) / 2, (region[2:] - region[:2]) / 2
        seen = landmark_box(landmarks.double(), ((landmarks - centre).abs() <= furthest * half).all(dim=-1))
        # A little more than the landmarks, whose dots would lie on the border.
        low, high = seen[:2] - 0.1 * half, seen[2:] + 0.1 * half
        region = torch.cat([low.minimum(region[:2]), high.maximum(region[2:])])
    affine = crop_affine(region, (side, side), 1.0)
    found, true = (None if pos is None else transform_points(pos, affine) for pos in (landmarks, target))
    return Tile(warp_image(image, affine, (side, side)), found, true, caption, scheme, occlusion)


def draw_contact_sheet(tiles: Sequence[Tile], *, columns: int = 4, title: str = "") -> Figure:
    """Plot all tiles, row by row.

    Found landmarks are light blue dots, true ones orange rings, and a thin line joins the two. With a scheme the true
    ones are dots on their contours, in orange on the person's right and in green on the left.

    Args:
        tiles: at least one.
        columns: tiles in a row.
        title: over the sheet; long paths in it are cut from the left.

    Raises:
        InputError: for no tile, tiles whose landmarks are not [K, 2] or another scheme's, or no column.
    """
    if not tiles or columns < 1:
        name, expected, got = ("columns", "1 or more", columns) if tiles else ("tiles", "at least one tile", "none")
        raise InputError(f"Expected '{name}' to be {expected} (got {got}).")
    columns = min(columns, len(tiles))
    rows = math.ceil(len(tiles) / columns)
    width = max(_LEAST_WIDTH, columns * _TILE)
    marks = _marks(tiles)
    legend = sum(0.45 + text_width(str(mark.get_label()), _LEGEND_FONT) for mark in marks)
    (title,) = shorten_paths([printable(title)])
    one_line = text_width(title, _TITLE_FONT) <= width - 0.15 - legend
    lines, size = fit_text(title, width - 0.1, _TITLE_FONT)
    head = _HEAD if one_line or not title else _HEAD + _LINE * (len(lines) - (not marks))
    height = rows * (_TILE + _CAPTION) + head
    figure = Figure(figsize=(width, height), dpi=_DPI)
    left = (width - columns * _TILE) / 2
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        bottom = height - head - (row + 1) * (_TILE + _CAPTION) + _CAPTION
        place = ((left + column * _TILE) / width, bottom / height)
        axes = figure.add_axes((*place, 0.98 * _TILE / width, 0.98 * _TILE / height))
        _draw_tile(axes, tile)
    if title:
        top = 1 - _HEAD / 2 / height if one_line else 1 - 0.08 / height
        text = title if one_line else "\n".join(lines)
        figure.text(0.05 / width, top, text, va="center" if one_line else "top", fontsize=size, parse_math=False)
    if marks:
        # On a separate line if the title leaves no room next to it.
        place = (1, 1 - (head - _HEAD / 2) / height)
        figure.legend(
            handles=marks,
            loc="center right",
            bbox_to_anchor=place,
            ncols=len(marks),
            fontsize=_LEGEND_FONT,
            frameon=False,
        )
    return figure


def save_contact_sheet(path: str | Path, tiles: Sequence[Tile], *, columns: int = 4, title: str = "") -> None:
    """Write :func:`draw_contact_sheet` to an image file, whole or not at all."""
    figure = draw_contact_sheet(tiles, columns=columns, title=title)
    FigureCanvasAgg(figure)
    with write_from_memory(path) as buffer:
        figure.savefig(buffer, format=Path(path).suffix[1:] or None)


def _marks(tiles: Sequence[Tile]) -> list[Line2D]:
    """Entries of the legend."""
    drawn = [tile for tile in tiles if tile.target is not None]
    with_sides = [tile for tile in drawn if tile.scheme is not None and tile.scheme.flip_pairs]
    looks: dict[str, dict[str, Any]] = {}
    if any(tile.landmarks is not None for tile in tiles):
        looks["found"] = {"color": _FOUND, "markeredgecolor": "black"}
    if any(tile.scheme is None for tile in drawn):
        looks["true"] = {"color": _TRUE, "fillstyle": "none"}
    if with_sides:
        looks |= {"the person's right": {"color": _RIGHT}, "left": {"color": _LEFT}}
    if any(tile.scheme is not None and tile.occlusion is not None and tile.occlusion.any() for tile in drawn):
        looks["covered"] = {"color": "#808080", "fillstyle": "none"}
    return [Line2D([], [], marker="o", linestyle="", label=label, **look) for label, look in looks.items()]


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
    if tile.target is not None and tile.scheme is not None:
        _draw_annotation(axes, tile.target, tile.scheme, tile.occlusion)
    elif tile.target is not None:
        x, y = tile.target.T.tolist()
        axes.scatter(x, y, s=7, facecolors="none", edgecolors=_TRUE, linewidths=0.8)
    if tile.landmarks is not None:
        x, y = tile.landmarks.T.tolist()
        axes.scatter(x, y, s=4, c=_FOUND, edgecolors="black", linewidths=0.25)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if tile.caption:
        axes.set_xlabel("\n".join(map(printable, tile.caption.split("\n"))), fontsize=6.5, labelpad=2, parse_math=False)


def _draw_annotation(axes: Axes, pos: Tensor, scheme: LandmarkScheme, occlusion: Tensor | None) -> None:
    """True landmarks on their contours, with one colour for each side of the face."""
    check_shape("target of a tile", pos, "K 2", K=scheme.num_landmarks)
    colours = _side_colours(scheme)
    edges = [edge for contour in scheme.contours for edge in contour.edges]
    ends = [[pos[a].tolist(), pos[b].tolist()] for a, b in edges]
    of_edges = [colours[a] if colours[a] == colours[b] else _MIDDLE for a, b in edges]
    axes.add_collection(LineCollection(ends, colors=of_edges, linewidths=0.8, alpha=0.9))
    covered = torch.zeros(len(pos)) if occlusion is None else occlusion
    check_shape("occlusion of a tile", covered, "K", K=len(pos))
    faces = ["none" if hidden else colour for colour, hidden in zip(colours, covered.bool().tolist(), strict=True)]
    x, y = pos.T.tolist()
    axes.scatter(x, y, s=[12 if face == "none" else 4 for face in faces], c=faces, edgecolors=colours, linewidths=0.7)


def _side_colours(scheme: LandmarkScheme) -> list[str]:
    """The colour of each landmark. A pair starts with the right one, unless the names say otherwise."""
    colours = scheme.num_landmarks * [_MIDDLE]
    for pair in scheme.flip_pairs:
        right, left = reversed(pair) if "left" in scheme.names[pair[0]] else pair
        colours[right], colours[left] = _RIGHT, _LEFT
    return colours
