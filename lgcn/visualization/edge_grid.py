"""Grid as in figure 3 of the paper: rows are images, columns are landmarks with their strongest edges."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from torch import Tensor

from lgcn.geometry import landmark_box
from lgcn.images import ImageLike, as_image_tensor
from lgcn.predict import Face
from lgcn.schemes import LandmarkScheme
from lgcn.visualization.layout import GAP, LINE, PAGE, SMALL_FONT, Page

# Distinguishable with any of the common colour blindnesses (Okabe and Ito 2008).
_RECEIVING = "#56d9ff"
_EDGE = "#ffe14d"
_NEGATIVE_EDGE = "#ff6ec7"
_DARK = "#404040"
# Of the images, drawn in grey: bright and coloured edges stand out.
_BRIGHTNESS = 0.75

# Inches: sides of a panel, least and most, and the least width of the legend; points: the strongest edge.
_PANELS = (1.1, 2.2)
_LEGEND = 4.0
_WIDEST_EDGE = 4.5

_Extent = tuple[float, float, float, float]


def are_shares(weights: Sequence[Tensor]) -> bool:
    """Whether each row of all weights [K, K] is 0 or more and adds up to 1, so that there is a uniform weight.

    Those of a Gaussian refiner do not, and a landmark keeps a part of its own position.
    """
    return all(bool((weight >= 0).all() and ((weight.sum(1) - 1).abs() < 0.01).all()) for weight in weights)


class EdgeGrid:
    """A row for each image, a column for each chosen landmark, with the strongest edges into it."""

    def __init__(
        self,
        images: Sequence[ImageLike],
        faces: Sequence[Face],
        weights: Sequence[Tensor],
        titles: Sequence[str],
        scheme: LandmarkScheme,
        chosen: Sequence[int],
        strongest: int,
        uniform: float,
    ) -> None:
        self.images, self.faces, self.titles, self.scheme = images, faces, titles, scheme
        self.uniform = uniform
        self.edges = [[strongest_into(i, weight, strongest) for i in chosen] for weight in weights]
        self.chosen = chosen
        self.signed = any((weight < 0).any() for weight in weights)
        self.absolute = not are_shares(weights)
        self.own = [weight.diagonal() if weight.diagonal().any() else None for weight in weights]
        self.largest = max(
            (float(weight[0].abs()) for row in self.edges for _, weight in row if len(weight)), default=0.0
        )
        self.side = min(max((PAGE - LINE) / len(chosen) - GAP, _PANELS[0]), _PANELS[1])
        self.width = LINE + max(len(chosen) * (self.side + GAP), _LEGEND)
        self.height = LINE + len(faces) * (self.side + GAP) + LINE

    def draw(self, page: Page, x: float, y: float) -> None:
        step = self.side + GAP
        left = x + LINE + (self.width - LINE - len(self.chosen) * step) / 2
        for column, i in enumerate(self.chosen):
            page.text(left + column * step + self.side / 2, y + LINE / 2, self.scheme.names[i], self.side)
        for row, (image, face) in enumerate(zip(self.images, self.faces, strict=True)):
            top = y + LINE + row * step
            page.text(left - LINE / 2, top + self.side / 2, self.titles[row], self.side, rotation=90)
            crop, extent, frame = _crop(as_image_tensor(image), face)
            for column, i in enumerate(self.chosen):
                axes = page.axes(left + column * step, top, self.side, self.side)
                axes.imshow(crop, extent=extent, cmap="gray", vmin=0, vmax=255, interpolation="bicubic", aspect="auto")
                axes.set(xticks=[], yticks=[], xlim=frame[:2], ylim=frame[2:], facecolor=_DARK)
                axes.spines[:].set_visible(False)
                self._draw_edges(axes, face.landmarks, i, *self.edges[row][column])
                own = self.own[row]
                if own is not None:
                    text: dict[str, Any] = {
                        "fontsize": SMALL_FONT,
                        "color": "white",
                        "va": "bottom",
                        "transform": axes.transAxes,
                    }
                    axes.text(0.03, 0.02, f"own {own[i]:.2f}", **text)
        self._draw_legend(page.axes(x + LINE, y + self.height - LINE, self.width - LINE - GAP, LINE))

    def _draw_edges(self, axes: Axes, pos: Tensor, i: int, neighbours: Tensor, weight: Tensor) -> None:
        points = 72 * self.side
        dots: dict[str, Any] = {"linewidths": 0.006 * points, "edgecolors": "black", "zorder": 3}
        x, y = pos.T.tolist()
        axes.scatter(x, y, s=(0.02 * points) ** 2, facecolors="white", edgecolors="black", linewidths=0.4)
        # The strongest on top.
        ends = pos[neighbours.flip(0)]
        lines = torch.stack([ends, pos[i].expand_as(ends)], dim=1).tolist()
        share = weight.flip(0) / max(self.largest, 1e-300)
        if lines:
            _add_lines(axes, lines, share.tolist())
        axes.scatter(ends[:, 0], ends[:, 1], s=(0.04 * points) ** 2, facecolors=_colours(share.tolist()), **dots)
        axes.scatter(x[i], y[i], s=(0.06 * points) ** 2, facecolors=_RECEIVING, **dots)

    def _draw_legend(self, axes: Axes) -> None:
        """Lines of a few widths and their meaning: multiples of the uniform weight, or weights of both signs."""
        axes.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1), facecolor=_DARK)
        axes.spines[:].set_visible(False)
        unit = 1.0 if self.absolute else self.uniform
        round_values = (factor * 10.0**power for power in range(-9, 10) for factor in (1, 2, 5))
        samples = [value for value in round_values if value <= 1.001 * self.largest / unit][-3:]
        if self.signed:
            samples = samples[-2:] + [-value for value in samples[-2:]]
        inch = 1 / (self.width - LINE - GAP)
        words = "edge weight:" if self.absolute else f"edge weight, × 1/{round(1 / self.uniform)} (uniform):"
        room, step = (0.8, 0.78) if self.absolute else (1.75, 0.65)
        left = max(0.0, 0.5 - inch * (room + step * len(samples)) / 2)
        style: dict[str, Any] = {"fontsize": SMALL_FONT, "va": "center", "color": "white"}
        axes.text(left, 0.5, words, **style)
        for number, value in enumerate(samples):
            place = left + (room + step * number) * inch
            _add_lines(axes, [[(place, 0.5), (place + 0.3 * inch, 0.5)]], [value * unit / self.largest])
            axes.text(
                place + 0.38 * inch, 0.5, f"{value:g}".replace("-", "−") if self.absolute else f"{value:g} ×", **style
            )


def strongest_into(i: int, weight: Tensor, strongest: int) -> tuple[Tensor, Tensor]:
    """Neighbours of landmark i [n] and their weights [n], strongest first, whatever their signs."""
    row = weight[i].clone()
    row[i] = 0.0
    top = row.abs().topk(min(strongest, len(row)))
    neighbours = top.indices[top.values > 0]
    return neighbours, row[neighbours]


def _crop(pixels: Tensor, face: Face) -> tuple[np.ndarray, _Extent, _Extent]:
    """The part of an image [h, w] around a face, darkened and grey; its extent; and the visible square."""
    x0, y0, x1, y1 = landmark_box(face.landmarks).tolist()
    half = 0.62 * max(x1 - x0, y1 - y0, 8.0)
    middle_x, middle_y = (x0 + x1) / 2, (y0 + y1) / 2
    frame = (middle_x - half, middle_x + half, middle_y + half, middle_y - half)
    height, width = pixels.shape[1:]
    left, right = (min(max(round(value), 0), width - 1) for value in (frame[0] - 2, frame[1] + 2))
    top, bottom = (min(max(round(value), 0), height - 1) for value in (frame[3] - 2, frame[2] + 2))
    part = pixels[:, top : bottom + 1, left : right + 1].permute(1, 2, 0).cpu().float()
    grey = (_BRIGHTNESS * part.mean(dim=-1)).round().to(torch.uint8)
    return grey.numpy(), (left - 0.5, right + 0.5, bottom + 0.5, top - 0.5), frame


def _colours(weight: Sequence[float]) -> list[str]:
    """One for each sign."""
    return [_EDGE if each >= 0 else _NEGATIVE_EDGE for each in weight]


def _add_lines(axes: Axes, lines: list[Any], share: list[float]) -> None:
    """Lines as wide and as opaque as their share [-1, 1] of the largest weight is large, coloured by its sign."""
    size = np.abs(share)
    widths = np.maximum(0.5, _WIDEST_EDGE * size)
    opacity = 0.35 + 0.65 * size
    drawn = LineCollection(lines, colors=_colours(share), linewidths=widths, alpha=opacity, capstyle="round", zorder=2)
    # Agg would round it to whole pixels.
    drawn.set_snap(False)
    axes.add_collection(drawn, autolim=False)
