"""What ``docs/benchmarks.md`` and ``docs/reformulation.md`` show, section by section, from the JSON of the scripts."""

from collections.abc import Sequence
from typing import Any

from benchmarks.goals import NETWORK_COMPILED, Figures, find, goals, percent, times
from benchmarks.tables import (
    MODES,
    compile_table,
    goal_table,
    growth_table,
    left_out_table,
    losses,
    megabytes,
    megabytes_held,
    milliseconds,
    over,
    ratio,
    scatter_gain,
    shown_images,
    shown_landmarks,
    spread,
    table,
)

REFORMULATED = (
    (98, 1, "inference"),
    (98, 32, "inference"),
    (98, 32, "training"),
    (478, 8, "inference"),
    (478, 8, "training"),
)
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
        compiled = [at[name] for name in NETWORK_COMPILED if name in at]
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
        section("Single images, process by process", spread(rows)),
        section("Growth with K", "![Time over K](images/benchmark_growth.png)", note, *grown) if grown else "",
        section(
            "Memory",
            "![Memory](images/benchmark_memory.png)",
            f"{memory}; for inference *+* what stays between calls. *Resident*: how far the process grew, scratch "
            "memory of the library included.",
            *(
                f"*{name}*\n\n{over(find(memory_rows, mode=mode), 'images', 'B', megabytes_held)}"
                for mode, name in MODES.items()
            ),
        ),
        section("Where ours is not the fastest", losses(rows)),
        section("What torch-scatter gains", scatter_gain(rows)),
        section("What compiling takes", compile_table(rows)),
    ]


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
