"""The Markdown tables of ``docs/benchmarks.md``, from the JSON that the scripts have written."""

import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.goals import Figures, Goal, Row, find, goals, percent, times

MODES = {"inference": "inference", "training": "forward + backward"}
SHOWN_LANDMARKS, SHOWN_IMAGES = 98, 8
REFORMULATED = (
    (98, 1, "inference"),
    (98, 32, "inference"),
    (98, 32, "training"),
    (478, 8, "inference"),
    (478, 8, "training"),
)
COMPILED = ("LGCN compiled", "LGCN frozen compiled", "LGCN ahead of time")
NUMBER = re.compile(r"\**[-\d]|not seen")
QUIET = 0.1  # of all cores' time that other processes may have taken, compilers that PyTorch starts among them


def document(figures: Figures, commands: Sequence[str]) -> str:
    """Everything between the markers of ``docs/benchmarks.md``."""
    sections = [
        header(figures, commands),
        section("Goals", goal_table(goals(figures))),
        *_runtime_sections(figures.get("layer_runtime")),
        *_share_sections(figures.get("detector_share")),
        *_roofline_sections(figures.get("roofline")),
        section("Left out", left_out_table(figures)),
    ]
    return "\n\n".join(each for each in sections if each)


def reformulation(figures: Figures) -> str:
    """What stands between the markers of ``docs/reformulation.md``: the gain, at the places that have a goal."""
    rows = find(figures.get("layer_runtime", {}).get("results", ()), group="network")
    columns = {"as written": "literal", "edge list": "LGCN sparse", "matrices": "LGCN dense"}
    lines = []
    for landmarks, images, mode in REFORMULATED:
        at = {row["candidate"]: row for row in find(rows, landmarks=landmarks, images=images, mode=mode)}
        if "literal" not in at:
            continue
        compiled = [at[name] for name in COMPILED if name in at]
        best = min(compiled, key=lambda row: row["median_s"], default=None)
        shown = [*(at.get(name) for name in columns.values()), best]
        held = [megabytes(at[name]["peak_bytes"]) if name in at else "-" for name in ("literal", "LGCN dense")]
        lines.append(
            [f"K = {landmarks}, B = {images}, {MODES[mode]}"]
            + ["-" if row is None else f"{milliseconds(row)} ({ratio(row)})" for row in shown]
            + [" / ".join(held)]
        )
    header = ["median in ms (as written / this)", *columns, "matrices, compiled", "MB: as written / matrices"]
    return table(header, lines) or "Nothing was measured."


def section(title: str, *parts: str) -> str:
    """A heading and what stands under it; nothing where nothing does."""
    kept = [each for each in parts if each]
    return "\n\n".join([f"### {title}", *kept]) if kept else ""


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, columns of numbers aligned right; nothing without rows."""
    cells = [list(row) for row in rows]
    if not cells:
        return ""
    aligned = ["--:" if all(NUMBER.match(cell) for cell in column) else "---" for column in zip(*cells, strict=True)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([f"| {' | '.join(columns)} |", f"|{'|'.join(aligned)}|", *lines])


def header(figures: Figures, commands: Sequence[str]) -> str:
    """When, where, with what, and how to get the same."""
    first = next(iter(figures.values()))["environment"]
    lines = []
    others = max(each.get("others_share") or 0.0 for each in figures.values())
    if others > QUIET:
        lines += [
            f"**Placeholders: other processes took {percent(others)} of the machine. Read nothing into these times.**",
            "",
        ]
    if not all(each.get("complete", True) for each in figures.values()):
        lines += ["**Unfinished: the run was stopped; what it had measured until then is here.**", ""]
    versions = {name: first[name] for name in ("torch", "torch_geometric", "onnxruntime", "torch_scatter", "python")}
    named = ", ".join(f"{name.replace('_', '-')} {version}" for name, version in versions.items() if version)
    caches = ", ".join(f"{level} {size >> 10} KiB" for level, size in first["caches"].items())
    lines += [
        f"- **Command:** {', '.join(f'`{command}`' for command in commands)}",
        f"- **Date:** {first['time'][:10]}, commit `{(first['commit'] or 'unknown')[:10]}`"
        + (" with uncommitted changes" if first["uncommitted_changes"] else ""),
        f"- **Machine:** {first['cpu']}, {first['cores']} cores, {first['threads']} threads used, "
        f"{first['memory_bytes'] / 2**30:.0f} GiB; {first['cpu_capability']}; {caches}; "
        f"other processes, compilers among them, took {percent(others)} of the time",
        f"- **Versions:** lgcn {first['lgcn']}, {named}; float32",
    ]
    described = [each["environment"] for each in figures.values()]
    for key in ("commit", "cpu", "threads", "torch"):
        if len({str(each[key]) for each in described}) > 1:
            lines.append(f"- **Not one run:** the scripts' `{key}` differ.")
    return "\n".join(lines)


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


def _runtime_sections(figures: dict[str, Any] | None) -> list[str]:
    if figures is None:
        return []
    rows = figures["results"]
    landmarks = shown_landmarks(rows)
    over_images = [
        part
        for group, title, what in (
            ("network", "Three layers and their edges", "literal / this"),
            ("layer", "One layer", "this / `DenseLGCNConv`, in bold where it is faster than ours"),
        )
        for part in (
            f"**{title}, K = {landmarks}: median in ms ({what}).**",
            *(
                f"*{name}*\n\n{over(find(rows, group=group, mode=mode, landmarks=landmarks), 'images', 'B')}"
                for mode, name in MODES.items()
            ),
        )
    ]
    images = shown_images(rows)
    grown = [
        f"*{title}, {name}*\n\n{text}"
        for group, title in (("network", "Three layers and their edges"), ("layer", "One layer"))
        for mode, name in MODES.items()
        if (text := growth_table(figures, group, mode, images))
    ]
    note = (
        f"Median in ms at B = {images}. *Exponent*: the slope of a line through log time over log K, over all K and "
        "between the two largest, where the fixed cost of a call weighs least."
    )
    memory = f"MB of tensors held at most during a call, K = {landmarks}, inputs and parameters not included"
    memory_rows = find(rows, group="network", landmarks=landmarks)
    return [
        section("Runtime over the batch size", "![Time over B](images/benchmark_runtime.png)", *over_images),
        section("Growth with K", "![Time over K](images/benchmark_growth.png)", note, *grown) if grown else "",
        section(
            "Memory",
            "![Memory](images/benchmark_memory.png)",
            f"{memory}; for inference *+* what stays between calls. *Resident*: how far the process grew, scratch "
            "memory of the library included.",
            *(
                f"*{name}*\n\n{over(find(memory_rows, mode=mode), 'images', 'B', _memory)}"
                for mode, name in MODES.items()
            ),
        ),
        section("Where ours is not the fastest", losses(rows)),
        section("What torch-scatter gains", scatter_gain(rows)),
        section("What compiling takes", compile_table(rows)),
    ]


def shown_landmarks(rows: list[Row]) -> int:
    """98 where it was measured, else the largest K."""
    known = sorted({row["landmarks"] for row in rows})
    return SHOWN_LANDMARKS if SHOWN_LANDMARKS in known else known[-1]


def shown_images(rows: list[Row]) -> int:
    """The B at which most K were measured; of several 8, or the largest."""
    sizes = {row["images"]: {other["landmarks"] for other in find(rows, images=row["images"])} for row in rows}
    return max(sizes, key=lambda images: (len(sizes[images]), images == SHOWN_IMAGES, images))


def _memory(row: Row) -> str:
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
    """All that is faster than ours somewhere: by how much, and where most."""
    lines = []
    names = dict.fromkeys(row["candidate"] for row in rows if "this_over_dense_lgcn_conv" in row)
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
        "other B. First calls that compile one:"
    )
    return f"{note}\n\n{table(['', '', 'graphs', 'median, s', 'longest, s'], lines)}"


def _share_sections(figures: dict[str, Any] | None) -> list[str]:
    if figures is None:
        return []
    rows = [
        [
            f"{row['refiner']}, B = {row['images']}",
            f"{1e3 * row['detector_s']:,.1f}",
            f"{1e3 * row['graph_s']:.2f}",
            percent(row["share"]),
        ]
        for row in figures["results"]
    ]
    alone = [
        [f"{row['part']}, B = {row['images']}", milliseconds(row)] for row in figures["parts"] if row["part"] != "all"
    ]
    seen = figures["network"]
    note = (
        f"{figures['settings']['backbone']}, {figures['settings']['size']} px, {seen['landmarks']} landmarks, "
        f"{seen['feature_channels']} channels of {' x '.join(map(str, seen['feature_cells']))} features."
    )
    return [
        section(
            "Share of the whole detector",
            "![Share](images/benchmark_share.png)",
            note,
            table(["refiner", "detector, ms", "of which graph, ms", "share"], rows),
            "The eager parts, each called alone:",
            table(["part", "ms"], alone),
        )
    ]


def _roofline_sections(figures: dict[str, Any] | None) -> list[str]:
    if figures is None:
        return []
    peaks = figures["peaks"]
    bandwidths = ", ".join(
        f"{row['bytes_per_s'] / 1e9:.1f} GB/s ({row['block_bytes'] / 2**20:g} MiB)" for row in peaks["bytes_per_s"]
    )
    results = [
        [
            f"{row['candidate']}, K = {row['landmarks']}, B = {row['images']}, {MODES[row['mode']]}",
            f"{row['operations'] / 1e6:,.0f}",
            megabytes(row["bytes"]),
            f"{1e3 * row['allowed_s']:.3g}",
            milliseconds(row),
            times(row["over_allowed"]),
        ]
        for row in figures["results"]
    ]
    parts = [
        [
            f"{row['part']}, K = {row['landmarks']}, B = {row['images']}",
            f"{1e3 * row['allowed_s']:.3g}",
            milliseconds(row),
            times(row["over_allowed"]),
        ]
        for row in figures["parts"]
    ]
    last = figures["steps"][-1]
    at = {"landmarks": last["landmarks"], "images": last["images"]}
    steps = [
        [
            f"{row['direction']}: {row['step']}",
            f"{row['operations'] / 1e6:,.1f}",
            megabytes(row["bytes"]),
            f"{1e3 * row['allowed_s']:.3g}",
            row["limited_by"],
        ]
        for row in find(figures["steps"], **at)
    ]
    return [
        section(
            "Roofline",
            f"Peaks measured in the same run: {peaks['operations_per_s'] / 1e9:.1f} GFLOP/s in a product of matrices; "
            f"{bandwidths} in blocks of this size.",
            table(["", "MFLOP", "MB", "allowed, ms", "measured, ms", "measured / allowed"], results),
            "The eager forward in parts:",
            table(["", "allowed, ms", "measured, ms", "measured / allowed"], parts),
            f"Step by step at K = {at['landmarks']}, B = {at['images']}:",
            table(["step", "MFLOP", "MB", "allowed, ms", "limited by"], steps),
        )
    ]


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
