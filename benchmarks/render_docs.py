"""Documentation pages and plots, from the JSON in ``benchmarks/results``; nothing is measured.

    python benchmarks/render_docs.py [--results benchmarks/results] [--docs docs]

Writes ``benchmarks_tables.md``, ``ablation_tables.md``, ``gaussian_tables.md`` and the plots, and replaces what stands
between the markers of ``benchmarks.md``, ``reformulation.md``, ``ablation.md`` and ``gaussian_results.md``. The same
JSON gives the same files.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

# Render with the checkout that holds this script, whatever is installed.
if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.ablation import gaussian_report
from benchmarks.ablation.report import key_table, markdown, markdown_table, tables
from benchmarks.plots import draw_all
from benchmarks.sections import header, roofline_sections, runtime_sections, section, share_sections
from benchmarks.tables import MODES, left_out_table, megabytes, milliseconds, ratio, table, target_table
from benchmarks.targets import COMPILED, Figures, compare_with_targets, find
from lgcn.files import write_text

ROOT = Path(__file__).resolve().parents[1]
BEGIN = "<!-- Begin of what benchmarks/render_docs.py writes. -->"
END = "<!-- End of what benchmarks/render_docs.py writes. -->"
GENERATED = "<!-- Written by benchmarks/render_docs.py; do not edit. -->"
TARGETS, GRID = "targets", ("layer_runtime", "detector_share", "roofline")
ABLATION = "connectivity_ablation"
GAUSSIAN = "gaussian_refiner"
REFORMULATED = (
    (98, 1, "inference"),
    (98, 32, "inference"),
    (98, 32, "training"),
    (478, 8, "inference"),
    (478, 8, "training"),
)


def read(folder: Path) -> Figures:
    """Content of the result files that exist, by name."""
    names = (TARGETS, *GRID, ABLATION, GAUSSIAN)
    paths = {name: folder / f"{name}.json" for name in names}
    figures = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.is_file()}
    if not figures:
        raise SystemExit(f"Expected one of {', '.join(f'{name}.json' for name in names)} in '{folder}' (got none).")
    return figures


def newest_runtime(figures: Figures) -> Figures:
    """The run that the targets are compared with: ``--targets`` if there is one, else the whole grid."""
    return {name: figures[name] for name in (TARGETS, "layer_runtime") if name in figures}


def targets_block(figures: Figures) -> str:
    """The table of targets for ``benchmarks.md``."""
    name, runtime = next(iter(newest_runtime(figures).items()))
    return f"{target_table(compare_with_targets(runtime))}\n\n{header({name: runtime})}"


def reformulation_block(figures: Figures) -> str:
    """The table of speedups for ``reformulation.md``."""
    runtime = next(iter(newest_runtime(figures).values()))
    rows = find(runtime["results"], group="network")
    columns = {"as written": "literal", "edge list": "LGCN", "dense": "DenseLGCN"}
    lines = []
    for landmarks, images, mode in REFORMULATED:
        at = {row["candidate"]: row for row in find(rows, landmarks=landmarks, images=images, mode=mode)}
        if "literal" not in at:
            continue
        compiled = [at[name] for name in COMPILED if name in at]
        fastest = min(compiled, key=lambda row: row["median_s"], default=None)
        shown = [*(at.get(name) for name in columns.values()), fastest]
        held = [megabytes(at[name]["peak_bytes"]) if name in at else "-" for name in ("literal", "DenseLGCN")]
        lines.append(
            [f"K = {landmarks}, B = {images}, {MODES[mode]}"]
            + ["-" if row is None else f"{milliseconds(row)} ({ratio(row)})" for row in shown]
            + [" / ".join(held)]
        )
    titles = ["median in ms (as written / this)", *columns, "dense, compiled", "MB: as written / dense"]
    return table(titles, lines)


def benchmark_tables(figures: Figures) -> str:
    """The page ``benchmarks_tables.md``."""
    measured = {name: figures[name] for name in GRID if name in figures}
    parts = {"layer_runtime": runtime_sections, "detector_share": share_sections, "roofline": roofline_sections}
    return page(
        "Benchmark tables",
        "All measurements, from `python benchmarks/run_all.py --full`. The page [Benchmarks](benchmarks.md) says "
        "what they mean and which of them matter.",
        header(measured),
        *(text for name, content in measured.items() for text in parts[name](content)),
        section("Left out", left_out_table(measured)),
    )


def ablation_tables(figures: dict[str, Any]) -> str:
    """The page ``ablation_tables.md``."""
    return page(
        "Ablation tables",
        "All results of the [connectivity ablation](ablation.md), which defines rows, conditions and columns.",
        f"NME in per cent, protocol `{figures['protocol']}`, normaliser `{figures['normalizer']}`; "
        f"{figures['runs']['done']} of {figures['runs']['planned']} runs. ± is the standard deviation over seeds. "
        "Differences are in percentage points with 95 % intervals; a star marks intervals that exclude 0.",
        markdown(tables(figures, figures["settings"]["seeds"])),
    )


def ablation_block(figures: dict[str, Any]) -> str:
    """The key results for ``ablation.md``."""
    return markdown_table(key_table(figures))


def gaussian_tables(figures: dict[str, Any]) -> str:
    """The page ``gaussian_tables.md``."""
    return page(
        "Tables of the Gaussian refiner",
        "All results of the [Gaussian graph](gaussian_results.md). That page names the command and defines the rows. "
        "Conditions are those of the [connectivity ablation](ablation.md).",
        f"NME in per cent, protocol `{figures['protocol']}`, normaliser `{figures['normalizer']}`. Differences are in "
        "percentage points with 95 % intervals. Coverage is that of the first seed.",
        markdown(gaussian_report.tables(figures)),
    )


def page(title: str, *parts: str) -> str:
    """A generated page."""
    return "\n\n".join([GENERATED, f"# {title}", *(part.strip() for part in parts if part)]) + "\n"


def insert(text: str, block: str) -> str:
    """A page with another block between its markers."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"Expected '{BEGIN}' and '{END}' in the page (got neither or one).")
    return f"{before}{BEGIN}\n\n{block}\n\n{END}{after}"


def render(figures: Figures, docs: Path) -> list[Path]:
    """Write all pages and plot for which there are results; return their paths."""
    pages: dict[Path, str] = {}
    if newest_runtime(figures):
        blocks = {"benchmarks.md": targets_block(figures), "reformulation.md": reformulation_block(figures)}
        # All pages are read, and found to have markers, before the first is written.
        pages |= {docs / name: insert((docs / name).read_text(encoding="utf-8"), text) for name, text in blocks.items()}
    if any(name in figures for name in GRID):
        pages[docs / "benchmarks_tables.md"] = benchmark_tables(figures)
    if ABLATION in figures:
        answer = docs / "ablation.md"
        pages[answer] = insert(answer.read_text(encoding="utf-8"), ablation_block(figures[ABLATION]))
        pages[docs / "ablation_tables.md"] = ablation_tables(figures[ABLATION])
    if GAUSSIAN in figures:
        answer = docs / "gaussian_results.md"
        block = markdown_table(gaussian_report.key_table(figures[GAUSSIAN]))
        pages[answer] = insert(answer.read_text(encoding="utf-8"), block)
        pages[docs / "gaussian_tables.md"] = gaussian_tables(figures[GAUSSIAN])
        gaussian_report.draw(figures[GAUSSIAN], docs / "images" / "gaussian_covered.png")
    for path, text in pages.items():
        write_text(path, text)
    return [*pages, *draw_all(figures, docs / "images")]


def main() -> int:
    """Read and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    results = ROOT / "benchmarks" / "results"
    parser.add_argument("--results", type=Path, default=results, help="folder of JSON (default: benchmarks/results)")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder of the pages (default: docs)")
    args = parser.parse_args()
    for path in render(read(args.results), args.docs):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
