"""All timed benchmarks in one command, and the documentation pages made from them.

    python benchmarks/run_all.py --targets   # the results that have a target, under ten minutes
    python benchmarks/run_all.py --full      # the whole grid, detector share and roofline, about an hour

Nothing else may run on the machine meanwhile. Each script runs in a separate process. JSON goes to
``benchmarks/results``; ``render_docs.py`` then writes pages and plots. The exit status is 1 if a candidate disagrees
with the literal transcription or a script fails; the documentation is then left as it is.
"""

import argparse
import subprocess
import sys
from pathlib import Path

# Run the checkout that holds this script, whatever is installed.
if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.render_docs import GRID, ROOT, TARGETS, read, render


def commands(targets: bool, threads: int, folder: Path) -> list[list[str]]:
    """Command lines of the scripts, in the order in which they run."""
    options = ["--threads", str(threads)]
    if targets:
        return [["layer_runtime.py", "--targets", *options, "--output", str(folder / f"{TARGETS}.json")]]
    presets = {"layer_runtime": ["--full"]}
    return [[f"{name}.py", *presets.get(name, ()), *options, "--output", str(folder / f"{name}.json")] for name in GRID]


def main() -> int:
    """Measure and render."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--targets", action="store_true", help="the results that have a target")
    which.add_argument("--full", action="store_true", help="the whole grid")
    results = ROOT / "benchmarks" / "results"
    parser.add_argument("--threads", type=int, default=2, help="default: 2")
    parser.add_argument("--results", type=Path, default=results, help="default: benchmarks/results")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder of the pages (default: docs)")
    args = parser.parse_args()
    args.results.mkdir(parents=True, exist_ok=True)
    for script, *options in commands(args.targets, args.threads, args.results):
        print(f"== {script}", flush=True)
        if subprocess.run([sys.executable, str(ROOT / "benchmarks" / script), *options], check=False).returncode:
            print("A candidate disagrees, or the script failed: see above. No page was changed.", file=sys.stderr)
            return 1
    for path in render(read(args.results), args.docs):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
