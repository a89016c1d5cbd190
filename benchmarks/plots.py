"""Plots of ``docs/benchmarks.md``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.tables import MODES, shown_images, shown_landmarks
from benchmarks.targets import Figures, Row, find
from lgcn.files import replace_when_done

# Ours are warm and solid, the literal version is black, the others are cool and dashed.
STYLES: dict[str, tuple[str, str, str]] = {
    "literal": ("black", "-", "o"),
    "LGCN": ("#e69f00", "-", "s"),
    "DenseLGCN": ("#d55e00", "-", "o"),
    "DenseLGCN for_inference": ("#cc79a7", "-", "D"),
    "DenseLGCN compiled": ("#8c2d04", "--", "^"),
    "DenseLGCN for_inference compiled": ("#7a0177", "--", "v"),
    "DenseLGCN AOTInductor": ("#f768a1", "--", "X"),
    "ONNX Runtime": ("#636363", ":", "P"),
    "DenseLGCNConv": ("#d55e00", "-", "o"),
    "DenseLGCNConv for_inference": ("#cc79a7", "-", "D"),
    "LGCNConv": ("#e69f00", "-", "s"),
    "DenseLGCNConv compiled": ("#8c2d04", "--", "^"),
    "DenseLGCNConv for_inference compiled": ("#7a0177", "--", "v"),
    "MultiheadAttention": ("#0072b2", "--", "^"),
    "DenseGCNConv": ("#56b4e9", "--", "v"),
    "GCNConv": ("#009e73", ":", "x"),
    "GraphConv": ("#66c2a4", ":", "+"),
    "GATv2Conv": ("#54278f", "-.", "D"),
    "TransformerConv": ("#9e9ac8", "-.", "P"),
    "MultiheadAttention compiled": ("#00a0e0", "--", "<"),
    "TransformerConv compiled": ("#7570b3", "-.", ">"),
    "EdgeConv": ("#969696", ":", "*"),
}
GROUPS = {"network": "three layers and their edges", "layer": "one layer"}


def draw_all(figures: Figures, folder: Path) -> list[Path]:
    """Write every plot for which there are results as PNG; return the paths."""
    drawn: dict[str, Figure] = {}
    runtime, share = figures.get("layer_runtime"), figures.get("detector_share")
    if runtime is not None:
        drawn["benchmark_runtime"] = over_images(runtime)
        drawn["benchmark_memory"] = memory(runtime)
        if runtime["growth"]:
            drawn["benchmark_growth"] = growth(runtime)
    if share is not None:
        drawn["benchmark_share"] = shares(share)
    paths = []
    for name, figure in drawn.items():
        paths.append(folder / f"{name}.png")
        with replace_when_done(paths[-1]) as part:
            figure.savefig(part, dpi=110)
            # 256 colours make a small file.
            Image.open(part).convert("RGB").quantize(256).save(part, optimize=True)
        plt.close(figure)
    return paths


def over_images(runtime: dict[str, Any]) -> Figure:
    """Median time over B."""
    landmarks = shown_landmarks(runtime["results"])
    rows = find(runtime["results"], landmarks=landmarks)
    return _panels(rows, "images", "images B", f"K = {landmarks}")


def growth(runtime: dict[str, Any]) -> Figure:
    """Median time over K."""
    images = shown_images(runtime["results"])
    rows = find(runtime["results"], images=images)
    figure = _panels(rows, "landmarks", "landmarks K", f"B = {images}")
    for ax in figure.axes:
        low, high = min(row["landmarks"] for row in rows), max(row["landmarks"] for row in rows)
        bottom, top = ax.get_ylim()
        start = top / 2 / (high / low) ** 2
        ax.plot([low, high], [start, top / 2], color="0.8", linewidth=5, alpha=0.5, zorder=0)
        ax.annotate("K$^2$", (low, start), (4, -2), textcoords="offset points", color="0.5", va="top")
        ax.set_ylim(min(bottom, start / 2), top)
    return figure


def memory(runtime: dict[str, Any]) -> Figure:
    """Peak memory over B."""
    landmarks = shown_landmarks(runtime["results"])
    rows = [row for row in find(runtime["results"], landmarks=landmarks, group="network") if "peak_bytes" in row]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    for ax, (mode, title) in zip(axes, MODES.items(), strict=True):
        for name in _names(find(rows, mode=mode)):
            points = sorted((row["images"], row["peak_bytes"] / 1e6) for row in find(rows, mode=mode, candidate=name))
            _line(ax, name, points)
        _decorate(ax, f"{title}, K = {landmarks}", "images B", {row["images"] for row in rows})
    axes[0].set_ylabel("peak memory of a call, MB")
    _legend(axes)
    return figure


def shares(share: dict[str, Any]) -> Figure:
    """Share of the graph part in the runtime of the detector."""
    rows = share["results"]
    refiners = list(dict.fromkeys(row["refiner"] for row in rows))
    sizes = sorted({row["images"] for row in rows})
    figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
    width = 0.8 / len(sizes)
    for place, images in enumerate(sizes):
        values = [100 * find(rows, refiner=name, images=images)[0]["share"] for name in refiners]
        where = [index + (place - (len(sizes) - 1) / 2) * width for index in range(len(refiners))]
        colour = ("#d55e00", "#0072b2", "#009e73", "#cc79a7")[place % 4]
        bars = ax.bar(where, values, 0.92 * width, color=colour, label=f"B = {images}")
        ax.bar_label(bars, [f"{value:.2g} %" for value in values], padding=3)
    ax.set_xticks(range(len(refiners)), refiners)
    ax.set_ylabel("share of the runtime, %")
    ax.set_title(f"graph part of {share['settings']['backbone']}, {share['settings']['size']} px", fontsize=10)
    ax.margins(y=0.15)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.55))
    return figure


def _panels(rows: list[Row], key: str, label: str, where: str) -> Figure:
    """Time over one size: groups down, modes across."""
    groups = [group for group in GROUPS if find(rows, group=group)]
    figure, axes = plt.subplots(
        len(groups), 2, figsize=(9, 0.4 + 3.4 * len(groups)), sharey="row", squeeze=False, layout="constrained"
    )
    for line, group in zip(axes, groups, strict=True):
        for ax, (mode, title) in zip(line, MODES.items(), strict=True):
            of_panel = find(rows, group=group, mode=mode)
            for name in _names(of_panel):
                _line(ax, name, sorted((row[key], 1e3 * row["median_s"]) for row in find(of_panel, candidate=name)))
            _decorate(ax, f"{GROUPS[group]}\n{title}, {where}", label, {row[key] for row in rows})
        line[0].set_ylabel("median time, ms")
        _legend(line)
    return figure


def _names(rows: list[Row]) -> list[str]:
    """Candidates with a style, in measured order."""
    return [name for name in dict.fromkeys(row["candidate"] for row in rows) if name in STYLES]


def _line(ax: Axes, name: str, points: Sequence[tuple[float, float]]) -> None:
    colour, line, marker = STYLES[name]
    xs, ys = zip(*points, strict=True)
    ax.plot(xs, ys, line, color=colour, marker=marker, markersize=5, linewidth=1.4, label=name)


def _decorate(ax: Axes, title: str, label: str, sizes: set[int]) -> None:
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xticks(sorted(sizes), [str(size) for size in sorted(sizes)])
    ax.minorticks_off()
    ax.set_title(title, fontsize=9)
    ax.set_xlabel(label)
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)


def _legend(axes: Sequence[Axes]) -> None:
    """One legend for a row of panels, next to the last."""
    handles = {text: handle for ax in axes for handle, text in zip(*ax.get_legend_handles_labels(), strict=True)}
    axes[-1].legend(handles.values(), handles, loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, fontsize=8)
