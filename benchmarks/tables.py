"""Markdown tables of figures, and how a figure is written."""

import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.goals import Figures, Goal, Row, find, times

MODES = {"inference": "inference", "training": "forward + backward"}
SHOWN_LANDMARKS, SHOWN_IMAGES = 98, 8
NUMBER = re.compile(r"\**[-\d]|not seen")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, columns of numbers aligned right; nothing without rows."""
    cells = [list(row) for row in rows]
    if not cells:
        return ""
    aligned = ["--:" if all(NUMBER.match(cell) for cell in column) else "---" for column in zip(*cells, strict=True)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([f"| {' | '.join(columns)} |", f"|{'|'.join(aligned)}|", *lines])


def goal_table(found: Iterable[Goal]) -> str:
    """Goals beside what was measured."""

    def shown(goal: Goal, value: float | None) -> str:
        return "-" if value is None else goal.show(value)

    return table(
        ["figure", "must", "aim", "measured", "by", "verdict"],
        (
            [
                goal.figure,
                shown(goal, goal.must),
                shown(goal, goal.aim),
                shown(goal, goal.measured),
                f"`{goal.of}`" if goal.of else "-",
                goal.verdict,
            ]
            for goal in found
        ),
    )


def milliseconds(row: Row) -> str:
    """A median."""
    value = 1e3 * row["median_s"]
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def ratio(row: Row) -> str:
    """A row's ratio, with what is faster than ours in bold."""
    if "literal_over_this" in row:
        return times(row["literal_over_this"])
    value = row.get("this_over_dense_lgcn_conv")
    if value is None:
        return "-"
    return f"**{times(value)}**" if value < 1 else times(value)


def megabytes(count: float) -> str:
    """10^6 bytes."""
    value = count / 1e6
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def shown_landmarks(rows: list[Row]) -> int:
    """98 where it was measured, else the largest K."""
    known = sorted({row["landmarks"] for row in rows})
    return SHOWN_LANDMARKS if SHOWN_LANDMARKS in known else known[-1]


def shown_images(rows: list[Row]) -> int:
    """The B at which most K were measured; of several 8, or the largest."""
    sizes = {row["images"]: {other["landmarks"] for other in find(rows, images=row["images"])} for row in rows}
    return max(sizes, key=lambda images: (len(sizes[images]), images == SHOWN_IMAGES, images))


def megabytes_held(row: Row) -> str:
    """Most memory at once during a call, and for inference what stays between calls."""
    if "peak_bytes" not in row:
        resident = row.get("resident_peak_bytes")
        return "not seen" if resident is None else f"{megabytes(resident)} resident"
    kept = row.get("kept_bytes", 0)
    return megabytes(row["peak_bytes"]) + (f" + {megabytes(kept)}" if kept else "")


def over(
    rows: list[Row],
    key: str,
    letter: str,
    show: Callable[[Row], str] = lambda row: f"{milliseconds(row)} ({ratio(row)})",
) -> str:
    """Candidates down, sizes across."""
    sizes = sorted({row[key] for row in rows})
    names = list(dict.fromkeys(row["candidate"] for row in rows))
    lines = []
    for name in names:
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


def losses(rows: list[Row]) -> str:
    """All of others' that is faster than ours somewhere: by how much, and where most."""
    lines = []
    compared = [row["candidate"] for row in rows if "this_over_dense_lgcn_conv" in row]
    names = dict.fromkeys(name for name in compared if not name.startswith("DenseLGCNConv"))
    for name in names:
        for mode, called in MODES.items():
            all_of_it = [row for row in find(rows, candidate=name, mode=mode) if "this_over_dense_lgcn_conv" in row]
            faster = [row for row in all_of_it if row["this_over_dense_lgcn_conv"] < 1]
            if faster:
                most = min(faster, key=lambda row: row["this_over_dense_lgcn_conv"])
                by, where = (
                    times(1 / most["this_over_dense_lgcn_conv"]),
                    f"K = {most['landmarks']}, B = {most['images']}",
                )
                lines.append([name, called, f"{len(faster)} of {len(all_of_it)}", f"{by} ({where})"])
    columns = ["faster than `DenseLGCNConv`", "", "in so many places", "at most by"]
    ours = [
        [row["candidate"], MODES[row["mode"]], f"K = {row['landmarks']}, B = {row['images']}", times(value)]
        for row in rows
        if (value := row.get("literal_over_this", 2)) < 1 and "literal" not in row["candidate"]
    ]
    parts = [
        table(columns, lines) or "Nothing was faster than `DenseLGCNConv`.",
        table(["ours, slower than the literal version", "", "where", "literal / this"], ours),
    ]
    return "\n\n".join(part for part in parts if part)


def scatter_gain(rows: list[Row]) -> str:
    """The same calls without and with torch-scatter."""
    ending = " + torch-scatter"
    lines = []
    for row in rows:
        if row["candidate"].endswith(ending):
            at = {key: row[key] for key in ("mode", "landmarks", "images")}
            for plain in find(rows, candidate=row["candidate"].removesuffix(ending), **at):
                where = f"K = {row['landmarks']}, B = {row['images']}, {MODES[row['mode']]}"
                gain = times(plain["median_s"] / row["median_s"])
                lines.append([f"{plain['candidate']}, {where}", milliseconds(plain), milliseconds(row), gain])
    return table(["", "without, ms", "with, ms", "gain"], lines) or "torch-scatter was not installed."


def spread(rows: list[Row]) -> str:
    """Between which ratios the processes lie that have measured the same place."""
    lines = []
    for row in rows:
        if "medians_s" not in row or "literal_over_this" not in row or row["candidate"] == "literal":
            continue
        at = {key: row[key] for key in ("group", "mode", "landmarks", "images")}
        for literal in find(rows, candidate="literal", **at):
            # Process by process, in the same order.
            ratios = [mine / this for mine, this in zip(literal["medians_s"], row["medians_s"], strict=True)]
            where = f"{row['candidate']}, K = {row['landmarks']}, B = {row['images']}, {MODES[row['mode']]}"
            lines.append([where, *map(times, (min(ratios), row["literal_over_this"], max(ratios)))])
    return table(["literal / this, each process by itself", "lowest", "shown", "highest"], lines)


def compile_table(rows: list[Row]) -> str:
    """First calls that trace a graph."""
    traced = [row for row in rows if "graphs_compiled" in row]
    lines = []
    for name in dict.fromkeys(row["candidate"] for row in traced):
        for mode, called in MODES.items():
            of_both = find(traced, candidate=name, mode=mode)
            first = [row["first_call_s"] for row in of_both if row["graphs_compiled"]]
            if first:
                graphs = sum(row["graphs_compiled"] for row in of_both)
                seconds = f"{statistics.median(first):.1f}"
                lines.append([name, called, f"{graphs} at {len(of_both)} places", seconds, f"{max(first):.1f}"])
    if not lines:
        return ""
    note = (
        "A graph is compiled at each K and mode for B = 1, of which PyTorch makes a case of its own, and once for all "
        "other B; in training once more where a sum comes to have more than 4096 terms, which PyTorch's compiler adds "
        "up in another way. First calls that compile one:"
    )
    return f"{note}\n\n{table(['', '', 'graphs', 'median, s', 'longest, s'], lines)}"


def left_out_table(figures: Figures) -> str:
    """What was not run, and why."""
    measured: set[str] = set()
    places: dict[tuple[str, str], list[str]] = {}
    for of_script in figures.values():
        measured |= {row["candidate"] for row in of_script["results"] if "candidate" in row}
        for row in of_script["left_out"]:
            where = f"K = {row['landmarks']}, B = {row['images']}"
            places.setdefault((row["candidate"], row["why"]), []).append(where)
    return table(
        ["candidate", "where", "why"],
        (
            [name, "; ".join(dict.fromkeys(where)) if name in measured else "everywhere", why]
            for (name, why), where in places.items()
        ),
    )
