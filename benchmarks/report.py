"""Runs the benchmarks, and writes the figures, tables and plots that ``docs/benchmarks.md`` shows.

    python benchmarks/report.py [--quick | --full] [--threads 2]
    python benchmarks/report.py --from-json [FOLDER]

Each script runs in a process of its own, one after the other; nothing else may run meanwhile. The JSON goes to
``benchmarks/results``, the plots to ``docs/images``, the tables between the markers of ``docs/benchmarks.md`` and
``docs/reformulation.md``. ``--quick`` (about a quarter of an hour) measures what the table of goals needs and no more,
``--full`` (about an hour) the whole grid.
With ``--from-json`` nothing is measured: tables and plots are made from the JSON that is there. The exit status is 1
where a script found a disagreement, and then nothing of the docs is changed.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

# The checkout that holds this script is what is measured, whatever is installed.
if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.pages import document, reformulation
from benchmarks.plots import draw_all
from lgcn.files import write_text

ROOT = Path(__file__).resolve().parents[1]
BEGIN = "<!-- Written by benchmarks/report.py from here on: changes by hand are lost. -->"
END = "<!-- End of what benchmarks/report.py writes. -->"
SCRIPTS = ("layer_runtime", "detector_share", "roofline")
QUICK_SCRIPTS = ("layer_runtime", "detector_share")
COMMANDS = {"quick": "python benchmarks/report.py --quick", "full": "python benchmarks/report.py --full"}


def run(scripts: tuple[str, ...], folder: Path, options: list[str]) -> bool:
    """Runs scripts one after the other; whether all found that everything agrees.

    What earlier runs have left in the folder is removed, so that nothing of another run gets into the report.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in SCRIPTS:
        (folder / f"{name}.json").unlink(missing_ok=True)
    agree = True
    for name in scripts:
        print(f"== {name}", flush=True)
        script = ROOT / "benchmarks" / f"{name}.py"
        command = [sys.executable, str(script), *options, "--output", str(folder / f"{name}.json")]
        agree &= subprocess.run(command, check=False).returncode == 0
    return agree


def read(folder: Path) -> dict[str, Any]:
    """What the scripts have written, by their names."""
    paths = {name: folder / f"{name}.json" for name in SCRIPTS}
    figures = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.is_file()}
    if not figures:
        raise SystemExit(f"Expected one of {', '.join(path.name for path in paths.values())} in '{folder}' (got none).")
    return figures


def commands_of(figures: dict[str, Any]) -> list[str]:
    """What was called, as far as the settings tell."""
    presets = {name: [key for key in COMMANDS if each["settings"].get(key)] for name, each in figures.items()}
    if all(presets.values()) and len({*map(tuple, presets.values())}) == 1:
        return [COMMANDS[next(iter(presets.values()))[0]]]
    commands = []
    for name, each in figures.items():
        settings = each["settings"]
        # Folder-free, and enough to find out what was run; the JSON has all settings.
        sizes = [
            f"{flag} {' '.join(map(str, settings[key]))}"
            for flag, key in (("-K", "landmarks"), ("-B", "images"))
            if settings.get(key)
        ]
        rest = [f"--{key} {settings[key]}" for key in ("repeats", "seconds", "backend")]
        commands.append(" ".join([f"python benchmarks/{name}.py", *sizes, *rest]))
    return commands


def insert(page: str, tables: str) -> str:
    """The page with other tables between its markers."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"Expected '{BEGIN}' and '{END}' in the page (got neither or one).")
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}"


def main() -> int:
    """Measures unless told not to, and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--quick", action="store_true", help="the figures of the table of goals")
    what.add_argument("--full", action="store_true", help="the whole grid (the default)")
    results = ROOT / "benchmarks" / "results"
    what.add_argument("--from-json", type=Path, nargs="?", const=results, metavar="FOLDER", help="measure nothing")
    parser.add_argument("--threads", type=int, default=2, help="default: 2")
    parser.add_argument("--results", type=Path, default=results, help="default: benchmarks/results")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="whose pages are written (default: docs)")
    args = parser.parse_args()
    folder = args.from_json or args.results
    if args.from_json is None:
        options = ["--quick" if args.quick else "--full", "--threads", str(args.threads)]
        if not run(QUICK_SCRIPTS if args.quick else SCRIPTS, folder, options):
            print("Something disagrees, or a script has failed: see above. The docs stay as they are.", file=sys.stderr)
            return 1
    figures = read(folder)
    tables = {"benchmarks.md": document(figures, commands_of(figures)), "reformulation.md": reformulation(figures)}
    pages = {args.docs / name: text for name, text in tables.items()}
    # All pages are read and found to have markers before the first is written.
    written = {path: insert(path.read_text(encoding="utf-8"), text) for path, text in pages.items()}
    for path in draw_all(figures, args.docs / "images"):
        print(path)
    for path, text in written.items():
        write_text(path, text)
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
