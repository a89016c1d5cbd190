"""Markdown tables of measured figures, and the format of each kind of figure."""

import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tabulate import tabulate

from benchmarks.targets import Figures, Row, Target, find, times

MODES = {"inference": "inference", "training": "forward + backward"}
SHOWN_LANDMARKS, SHOWN_IMAGES = 98, 8
NUMBER = re.compile(r"\**[-+\d]|not seen|$")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table with columns of numbers aligned right; empty if there are no rows."""
    cells = [list(row) for row in rows]
    if not cells:
        return ""
    aligned = ["right" if all(map(NUMBER.match, column)) else "left" for column in zip(*cells, strict=True)]
    return tabulate(cells, list(columns), tablefmt="pipe", colalign=aligned, disable_numparse=True)


def target_table(targets: Iterable[Target]) -> str:
    """Targets and measurements."""

    def shown(target: Target, value: float | None) -> str:
        return "-" if value is None else target.show(value)

    return table(
        ["", "target", "measured", "by", ""],
        (
            [
                target.title,
                shown(target, target.target),
                shown(target, target.measured),
                f"`{target.candidate}`" if target.candidate else "-",
                target.verdict,
            ]
            for target in targets
        ),
    )


def milliseconds(row: Row) -> str:
    """Median time."""
    value = 1e3 * row["median_s"]
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def ratio(row: Row) -> str:
    """Ratio of a row; bold if another layer is faster than ours."""
    if "literal_over_this" in row:
        return times(row["literal_over_this"])
    value = row.get("this_over_dense_lgcn_conv")
    if value is None:
        return "-"
    return f"**{times(value)}**" if value < 1 else times(value)


def megabytes(count: float) -> str:
    """Bytes in units of 10^6."""
    value = count / 1e6
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def shown_landmarks(rows: list[Row]) -> int:
    """98 if it was measured, else the largest K."""
    known = sorted({row["landmarks"] for row in rows})
    return SHOWN_LANDMARKS if SHOWN_LANDMARKS in known else known[-1]


def shown_images(rows: list[Row]) -> int:
    """The B at which most K were measured; 8 or the largest of several."""
    sizes = {row["images"]: {other["landmarks"] for other in find(rows, images=row["images"])} for row in rows}
    return max(sizes, key=lambda images: (len(sizes[images]), images == SHOWN_IMAGES, images))


def memory(row: Row) -> str:
    """Peak memory of a call and, for inference, what is kept between calls."""
    if "peak_bytes" not in row:
        resident = row.get("resident_peak_bytes")
        return "not seen" if resident is None else f"{megabytes(resident)} resident"
    kept = row.get("kept_bytes", 0)
    return megabytes(row["peak_bytes"]) + (f" + {megabytes(kept)}" if kept else "")


def time_and_ratio(row: Row) -> str:
    """Median in ms, with the ratio."""
    return f"{milliseconds(row)} ({ratio(row)})"


def size_table(rows: list[Row], key: str, letter: str, show: Callable[[Row], str] = time_and_ratio) -> str:
    """Candidates as rows, sizes as columns."""
    sizes = sorted({row[key] for row in rows})
    lines = []
    for name in dict.fromkeys(row["candidate"] for row in rows):
        cells = [find(rows, candidate=name, **{key: size}) for size in sizes]
        lines.append([name, *(show(cell[0]) if cell else "-" for cell in cells)])
    return table(["", *(f"{letter} = {size}" for size in sizes)], lines)


def growth_table(figures: dict[str, Any], group: str, mode: str, images: int) -> str:
    """Medians over K, and the exponents fitted to them."""
    fitted = find(figures["growth"], group=group, mode=mode, images=images)
    sizes = sorted({size for row in fitted for size in row["landmarks"]})
    lines = []
    for row in fitted:
        at = {"group": group, "mode": mode, "images": images, "candidate": row["candidate"]}
        cells = [find(figures["results"], landmarks=size, **at) for size in sizes]
        exponents = [f"{row[key]:.2f}" for key in ("exponent", "exponent_at_the_end")]
        lines.append([row["candidate"], *(milliseconds(cell[0]) if cell else "-" for cell in cells), *exponents])
    return table(["", *(f"K = {size}" for size in sizes), "exponent", "at the end"], lines)


def slower_table(rows: list[Row]) -> str:
    """Other layers that are faster than ours somewhere, and sizes where ours is slower than the literal version."""
    lines = []
    compared = [row["candidate"] for row in rows if "this_over_dense_lgcn_conv" in row]
    for name in dict.fromkeys(name for name in compared if not name.startswith("DenseLGCNConv")):
        for mode, title in MODES.items():
            measured = [row for row in find(rows, candidate=name, mode=mode) if "this_over_dense_lgcn_conv" in row]
            faster = [row for row in measured if row["this_over_dense_lgcn_conv"] < 1]
            if faster:
                most = min(faster, key=lambda row: row["this_over_dense_lgcn_conv"])
                factor = times(1 / most["this_over_dense_lgcn_conv"])
                where = f"K = {most['landmarks']}, B = {most['images']}"
                lines.append([name, title, f"{len(faster)} of {len(measured)}", f"{factor} ({where})"])
    columns = ["faster than `DenseLGCNConv`", "", "sizes", "at most"]
    ours = [
        [row["candidate"], MODES[row["mode"]], f"K = {row['landmarks']}, B = {row['images']}", times(value)]
        for row in rows
        if (value := row.get("literal_over_this", 2)) < 1 and "literal" not in row["candidate"]
    ]
    parts = [
        table(columns, lines) or "No other layer was faster than `DenseLGCNConv`.",
        table(["ours, slower than the literal version", "", "size", "literal / this"], ours),
    ]
    return "\n\n".join(part for part in parts if part)


def scatter_table(rows: list[Row]) -> str:
    """The same calls without and with torch-scatter."""
    suffix = " + torch-scatter"
    lines = []
    for row in rows:
        if row["candidate"].endswith(suffix):
            at = {key: row[key] for key in ("mode", "landmarks", "images")}
            for plain in find(rows, candidate=row["candidate"].removesuffix(suffix), **at):
                where = f"K = {row['landmarks']}, B = {row['images']}, {MODES[row['mode']]}"
                gain = times(plain["median_s"] / row["median_s"])
                lines.append([f"{plain['candidate']}, {where}", milliseconds(plain), milliseconds(row), gain])
    return table(["", "without, ms", "with, ms", "gain"], lines) or "torch-scatter was not installed."


def compile_table(rows: list[Row]) -> str:
    """Duration of the first calls, which compile."""
    traced = [row for row in rows if "graphs_compiled" in row]
    lines = []
    for name in dict.fromkeys(row["candidate"] for row in traced):
        for mode, title in MODES.items():
            of_mode = find(traced, candidate=name, mode=mode)
            first = [row["first_call_s"] for row in of_mode if row["graphs_compiled"]]
            if first:
                graphs = sum(row["graphs_compiled"] for row in of_mode)
                seconds = f"{statistics.median(first):.1f}"
                lines.append([name, title, f"{graphs} at {len(of_mode)} sizes", seconds, f"{max(first):.1f}"])
    return table(["", "", "graphs", "median, s", "longest, s"], lines)


def left_out_table(figures: Figures) -> str:
    """What was not run, and why."""
    measured: set[str] = set()
    places: dict[tuple[str, str], list[str]] = {}
    for content in figures.values():
        measured |= {row["candidate"] for row in content["results"] if "candidate" in row}
        for row in content["left_out"]:
            where = f"K = {row['landmarks']}, B = {row['images']}"
            places.setdefault((row["candidate"], row["reason"]), []).append(where)
    return table(
        ["candidate", "size", "reason"],
        (
            [name, "; ".join(dict.fromkeys(where)) if name in measured else "all", reason]
            for (name, reason), where in places.items()
        ),
    )
