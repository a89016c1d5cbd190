"""Sections of the documentation pages, from the JSON that the benchmarks have written."""

from typing import Any

from benchmarks.tables import (
    MODES,
    compile_table,
    growth_table,
    megabytes,
    memory,
    milliseconds,
    scatter_table,
    shown_images,
    shown_landmarks,
    size_table,
    slower_table,
    table,
)
from benchmarks.targets import Figures, find, percent, times

QUIET = 0.1
"""Share of the time of all cores that other processes may take."""
GROUPS = {"network": "Three layers and their edges", "layer": "One layer"}


def section(title: str, *parts: str) -> str:
    """A heading and its text; empty without text."""
    kept = [part for part in parts if part]
    return "\n\n".join([f"## {title}", *kept]) if kept else ""


def header(figures: Figures) -> str:
    """Date, machine and versions, and whether the results can be trusted."""
    first = next(iter(figures.values()))["environment"]
    others = max(content.get("others_share") or 0.0 for content in figures.values())
    lines = []
    if others > QUIET:
        lines += [f"**Placeholders: other processes took {percent(others)} of the machine; ignore these times.**", ""]
    if not all(content.get("complete", True) for content in figures.values()):
        lines += ["**Incomplete: the run was stopped before its end.**", ""]
    packages = ("torch", "torch_geometric", "onnxruntime", "torch_scatter", "python")
    versions = ", ".join(f"{name.replace('_', '-')} {first[name]}" for name in packages if first[name])
    lines += [
        f"- **Date:** {first['time'][:10]}, commit `{(first['commit'] or 'unknown')[:10]}`"
        + (" with uncommitted changes" if first["uncommitted_changes"] else ""),
        f"- **Machine:** {first['cpu']} ({first['cpu_capability']}), {first['threads']} of {first['cores']} cores, "
        f"{first['memory_bytes'] / 2**30:.0f} GiB; other processes took {percent(others)} of the time",
        f"- **Versions:** lgcn {first['lgcn']}, {versions}; float32",
    ]
    environments = [content["environment"] for content in figures.values()]
    for key in ("commit", "cpu", "threads", "torch"):
        if len({str(environment[key]) for environment in environments}) > 1:
            lines.append(f"- **Not one run:** the `{key}` of the scripts differ")
    return "\n".join(lines)


def runtime_sections(figures: dict[str, Any]) -> list[str]:
    """Runtime, growth and memory of the layers."""
    rows = figures["results"]
    landmarks, images = shown_landmarks(rows), shown_images(rows)
    network = find(rows, group="network", landmarks=landmarks)
    sections = []
    for group, what in (
        ("network", "`literal` / candidate"),
        ("layer", "candidate / `DenseLGCNConv`; bold where it is faster than ours"),
    ):
        tables = [
            f"*{title}*\n\n{size_table(find(rows, group=group, mode=mode, landmarks=landmarks), 'images', 'B')}"
            for mode, title in MODES.items()
        ]
        sections.append(section(f"{GROUPS[group]}, K = {landmarks}", f"Median in ms; in brackets {what}.", *tables))
    grown = [
        f"*{GROUPS[group]}, {title}*\n\n{text}"
        for group in GROUPS
        for mode, title in MODES.items()
        if (text := growth_table(figures, group, mode, images))
    ]
    note = (
        f"Median in ms at B = {images}. *Exponent*: slope of a least-squares line through log time over log K, over "
        "all K and between the two largest, where operator overhead weighs least."
    )
    return [
        *sections,
        section("Growth with K", note, *grown) if grown else "",
        section(
            "Memory",
            f"Peak of the tensors allocated during a call in MB, K = {landmarks}, without inputs and parameters; for "
            "inference *+* what is kept between calls. *Resident*: growth of the process, scratch memory included.",
            *(
                f"*{title}*\n\n{size_table(find(network, mode=mode), 'images', 'B', memory)}"
                for mode, title in MODES.items()
            ),
        ),
        section("Where ours is not the fastest", slower_table(rows)),
        section("torch-scatter", scatter_table(rows)),
        section(
            "Compile times",
            "Duration of the first call. PyTorch specialises B = 1 and compiles one graph for all other B; in training "
            "it compiles another where a reduction has more than 4096 terms."
            if compile_table(rows)
            else "",
            compile_table(rows),
        ),
    ]


def share_sections(figures: dict[str, Any]) -> list[str]:
    """The graph part within a whole detector."""
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
    network = figures["network"]
    note = (
        f"{figures['settings']['backbone']}, {figures['settings']['size']} px, {network['landmarks']} landmarks, "
        f"{network['feature_channels']} channels of {' x '.join(map(str, network['feature_cells']))} features."
    )
    return [
        section(
            "Share of the detector",
            "![Share](images/benchmark_share.png)",
            note,
            table(["refiner", "detector, ms", "graph part, ms", "share"], rows),
            "The parts of the eager refiner, each called alone:",
            table(["part", "ms"], alone),
        )
    ]


def roofline_sections(figures: dict[str, Any]) -> list[str]:
    """Measured times against lower bounds."""
    peaks = figures["peaks"]
    bandwidths = ", ".join(
        f"{row['bytes_per_s'] / 1e9:.1f} GB/s ({row['block_bytes'] / 2**20:g} MiB)" for row in peaks["bytes_per_s"]
    )
    results = [
        [
            f"{row['candidate']}, K = {row['landmarks']}, B = {row['images']}, {MODES[row['mode']]}",
            f"{row['operations'] / 1e6:,.0f}",
            megabytes(row["bytes"]),
            f"{1e3 * row['bound_s']:.3g}",
            milliseconds(row),
            times(row["over_bound"]),
        ]
        for row in figures["results"]
    ]
    parts = [
        [
            f"{row['part']}, K = {row['landmarks']}, B = {row['images']}",
            f"{1e3 * row['bound_s']:.3g}",
            milliseconds(row),
            times(row["over_bound"]),
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
            f"{1e3 * row['bound_s']:.3g}",
            row["limited_by"],
        ]
        for row in find(figures["steps"], **at)
    ]
    return [
        section(
            "Roofline",
            f"Peaks measured in the same run: {peaks['operations_per_s'] / 1e9:.1f} GFLOP/s in a matrix product; "
            f"{bandwidths} for blocks of this size.",
            table(["", "MFLOP", "MB", "bound, ms", "measured, ms", "measured / bound"], results),
            "Parts of the eager forward pass:",
            table(["", "bound, ms", "measured, ms", "measured / bound"], parts),
            f"Steps at K = {at['landmarks']}, B = {at['images']}:",
            table(["step", "MFLOP", "MB", "bound, ms", "limited by"], steps),
        )
    ]
