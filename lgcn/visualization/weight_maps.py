"""Heat maps of edge weights, side by side, with shared colours."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator
from torch import Tensor

from lgcn.schemes import Contour, LandmarkScheme
from lgcn.visualization.edge_grid import are_shares
from lgcn.visualization.layout import FONT, GAP, LINE, PAGE, SMALL_FONT, TEXT, Page

# Blue below the uniform weight (below 0 where some weights are negative), red above, white at it; distinguishable
# with any of the common colour blindnesses.
_COLOURS = "RdBu_r"
_NO_EDGE = "#8c8c8c"

# Inches.
_MAPS_IN_A_ROW = 3
_LARGEST_MAP = 3.8
_BAR, _BAR_NAMES = 0.12, 0.86


class HeatMaps:
    """The weights of each image side by side, row i receiving from column j."""

    def __init__(
        self,
        weights: Sequence[Tensor],
        titles: Sequence[str],
        scheme: LandmarkScheme,
        chosen: Sequence[int],
        uniform: float,
    ) -> None:
        self.titles, self.chosen, self.uniform = titles, chosen, uniform
        columns = min(len(weights), _MAPS_IN_A_ROW)
        # So many names fit along the narrowest map.
        self.regions = _regions(scheme, most=round(48 / columns))
        self.order = [k for region in self.regions for k in region.indices]
        self.weights = [weight[self.order][:, self.order].numpy() for weight in weights]
        self.signed = any((weight < 0).any() for weight in self.weights)
        self.shares = are_shares(weights)
        self.largest = max(float(abs(weight).max()) for weight in self.weights)
        # As far below the uniform weight as above it, so that white is the middle of the bar.
        self.reach = max(2.0, *(float(weight.max()) / self.uniform for weight in weights))
        # 0.56 of its size is the mean width of a letter.
        self.names_room = 0.06 + 0.56 * SMALL_FONT / 72 * max(len(region.name) for region in self.regions)
        room = PAGE - self.names_room - LINE - _BAR - _BAR_NAMES - GAP
        self.side = min(_LARGEST_MAP, room / columns - 2 * GAP)
        self.columns, self.rows = columns, math.ceil(len(weights) / columns)
        self.width = PAGE - room + columns * (self.side + 2 * GAP)
        self.height = self.rows * (LINE + self.side + GAP) + self.names_room + LINE

    def draw(self, page: Page, x: float, y: float) -> None:
        least = self.uniform / self.reach
        norm = Normalize(-self.largest, self.largest) if self.signed else LogNorm(least, self.uniform * self.reach)
        colours = colormaps[_COLOURS].with_extremes(bad=_NO_EDGE)
        left = x + LINE + self.names_room
        for number, (weight, title) in enumerate(zip(self.weights, self.titles, strict=True)):
            row, column = divmod(number, self.columns)
            place = (left + column * (self.side + 2 * GAP), y + LINE + row * (LINE + self.side + GAP))
            page.text(place[0] + self.side / 2, place[1] - LINE / 2, title, self.side)
            axes = page.axes(*place, self.side, self.side)
            shown = np.ma.masked_array(weight if self.signed else np.maximum(weight, least), mask=weight == 0)
            axes.imshow(shown, norm=norm, cmap=colours, interpolation="nearest", aspect="auto")
            axes.autoscale(False)
            self._label(axes, names_below=number + self.columns >= len(self.weights), names_left=column == 0)
        tall = self.rows * (LINE + self.side + GAP) - LINE - GAP
        page.text(x + LINE / 2, y + LINE + tall / 2, "into landmark i", tall, rotation=90)
        width = self.columns * (self.side + 2 * GAP) - 2 * GAP
        page.text(left + width / 2, y + self.height - LINE / 2, "from neighbour j", width)
        self._draw_bar(page, page.axes(left + width + 2.5 * GAP, y + LINE, _BAR, self.side), norm, colours)

    def _label(self, axes: Axes, names_below: bool, names_left: bool) -> None:
        """Borders and names of the regions, and marks of the chosen rows."""
        ends = np.cumsum([len(region.indices) for region in self.regions])
        borders = ends[:-1] - 0.5
        middles = ends - 0.5 - np.diff(ends, prepend=0) / 2
        names = [region.name for region in self.regions]
        gap = 1.15 * SMALL_FONT / (72 * self.side) * len(self.order)
        places = _spread(middles.tolist(), gap, len(self.order) - 1.0)
        style: dict[str, Any] = {"linewidth": 0.4, "color": "black", "alpha": 0.45}
        for border in borders:
            axes.axvline(border, **style)
            axes.axhline(border, **style)
        axes.tick_params(length=0, pad=2, labelsize=SMALL_FONT, labelcolor=TEXT)
        axes.set_xticks(places, names if names_below else [""] * len(names), rotation=90)
        axes.set_yticks(places, names if names_left else [""] * len(names))
        rows = [self.order.index(i) for i in self.chosen]
        marks: dict[str, Any] = {"marker": "<", "s": 9, "color": TEXT, "linewidths": 0, "clip_on": False}
        axes.scatter([1 + 0.03 / self.side] * len(rows), rows, transform=axes.get_yaxis_transform(), **marks)

    def _draw_bar(self, page: Page, axes: Axes, norm: Normalize, colours: Any) -> None:
        """The bar of colours, pointed where there are smaller weights than it shows, marked where it is white."""
        least = self.uniform / self.reach
        lower = not self.signed and any((weight[weight > 0] < least).any() for weight in self.weights)
        bar = page.figure.colorbar(ScalarMappable(norm, colours), cax=axes, extend="min" if lower else "neither")
        if self.signed:
            self._name_weights(bar)
        else:
            self._name_multiples(bar)
        bar.ax.tick_params(labelsize=SMALL_FONT, length=2, pad=2, labelcolor=TEXT)
        if self.signed or self.shares:
            bar.ax.axhline(0.0 if self.signed else self.uniform, color="black", linewidth=1.2)
        bar.outline.set_linewidth(0.4)
        bar.ax.set_title("$e_{ij}$", fontsize=FONT, pad=4, color=TEXT)

    def _name_weights(self, bar: Colorbar) -> None:
        """Round weights of both signs next to the bar."""
        bar.ax.yaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10]))
        bar.ax.yaxis.set_minor_locator(NullLocator())

    def _name_multiples(self, bar: Colorbar) -> None:
        """Multiples and fractions of the uniform weight next to the bar."""
        steps = [factor * 10.0**power for power in range(6) for factor in (1, 3)] if self.reach >= 3 else [1.0, 2.0]
        steps = [step for step in steps if step <= self.reach * 1.001]
        multiples = sorted({1 / step for step in steps} | set(steps))
        bar.ax.yaxis.set_major_locator(FixedLocator([self.uniform * multiple for multiple in multiples]))
        bar.ax.yaxis.set_minor_locator(NullLocator())
        name = _tick_name if self.shares else _plain_name
        bar.set_ticklabels([name(multiple, self.uniform) for multiple in multiples])


def _regions(scheme: LandmarkScheme, most: int) -> list[Contour]:
    """Every landmark once, in the first contour that it is on; without contours ``most`` groups in their order."""
    regions: list[Contour] = []
    taken: set[int] = set()
    for contour in scheme.contours:
        own = tuple(k for k in contour.indices if k not in taken)
        if own:
            regions.append(Contour(contour.name, own))
        taken.update(own)
    rest = tuple(k for k in range(scheme.num_landmarks) if k not in taken)
    if rest and regions:
        regions.append(Contour("others", rest))
    elif rest:
        every = max(1, math.ceil(len(rest) / most))
        starts = range(0, len(rest), every)
        regions = [Contour(scheme.names[start], rest[start : start + every]) for start in starts]
    return regions


def _spread(places: list[float], gap: float, last: float) -> list[float]:
    """Places in ascending order, moved apart to keep ``gap`` between them, all in 0 to ``last``."""
    gap = min(gap, last / max(1, len(places) - 1))
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + gap) if moved else place)
    for behind, number in enumerate(range(len(moved) - 1, -1, -1)):
        moved[number] = min(moved[number], last - behind * gap)
    return moved


def _plain_name(multiple: float, uniform: float) -> str:
    return f"{multiple * uniform:.2g}"


def _tick_name(multiple: float, uniform: float) -> str:
    value = f"{multiple * uniform:.2g}"
    if math.isclose(multiple, 1):
        return f"{value} = 1/{round(1 / uniform)}\n(uniform)"
    return f"{value} (× {multiple:g})" if multiple > 1 else f"{value} (÷ {1 / multiple:.3g})"
