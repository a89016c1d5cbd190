"""What the Gaussian refiner is worth on a frozen backbone: closed form, trained, and with confidences of another face.

    python benchmarks/gaussian_refiner.py --root DIR/300w --work DIR [--model lgcn-68-paper] [--output FILE]

The backbone's outputs are those of ``connectivity_ablation.py`` (its stage 1, regime "patches") and are computed where
``--work`` does not hold them yet. Choices are to be made on "held out", training faces that the backbone has not seen;
"test" is for reporting. Runs that ``--work`` holds are not repeated. Prints tables and writes JSON after every run.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

# The checkout that holds this script is what is measured, whatever is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.ablation.gaussian import REGIME, START, VARIANTS, Schedule, run
from benchmarks.ablation.gaussian_report import Runs, comparisons, summary, tables
from benchmarks.ablation.outputs import PARTS, Extraction, extract, load_tested, load_trained
from benchmarks.ablation.report import plain
from benchmarks.measuring import environment
from lgcn.files import write_text
from lgcn.models import LandmarkDetector


def report(runs: Runs) -> dict[str, Any]:
    """What is made of the results of all runs; coverage and masking for the first seed."""
    figures: dict[str, Any] = {"summary": [row for part in PARTS for row in summary(runs, part)]}
    figures["comparisons"] = comparisons(runs)
    for key in ("certainty", "half_masked"):
        figures[key] = {name: result[key] for (name, seed), result in runs.items() if key in result and seed == 0}
    return figures


def main(argv: list[str] | None = None) -> int:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="300-W in its official layout")
    parser.add_argument("--work", type=Path, required=True, help="folder of the backbone's outputs and of the runs")
    parser.add_argument("--model", default="lgcn-68-paper", help="whose backbone is frozen (default: lgcn-68-paper)")
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=list(VARIANTS), help="default: all")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--steps", type=int, default=Schedule.steps, help="batches of 32 crops (default: 3000)")
    parser.add_argument("--rounds", type=int, default=4, help="crops of a training face (default: 4)")
    parser.add_argument("--output", type=Path, default=Path("gaussian_refiner.json"), help="of the results")
    args = parser.parse_args(argv)

    settings, schedule = Extraction(str(args.root.resolve()), args.model, args.rounds), Schedule(args.steps)
    folder = args.work / "outputs"
    torch.set_num_threads(1)
    try:
        data: dict[str, Any] = {part: load_tested(settings, folder, part, (START,)) for part in PARTS}
        data["train"] = load_trained(settings, folder, REGIME, (START,))
    except FileNotFoundError:
        extract(settings, folder)
        return main(argv)
    detector = LandmarkDetector.from_pretrained(args.model)
    figures: dict[str, Any] = {
        "protocol": detector.protocol.name,
        "normalizer": detector.scheme.default_normalizer,
        "environment": environment(),
        "settings": {**vars(settings), **vars(schedule), "root": args.root.name},
        "variants": {name: VARIANTS[name].label for name in args.variants},
        "backbone": {
            part: {c: 100 * o.errors(o.pos[START]).mean().item() for c, o in data[part].items()} for part in PARTS
        },
    }
    runs: Runs = {}
    for seed in args.seeds:
        for name in args.variants:
            if VARIANTS[name].trained or seed == args.seeds[0]:  # without training nothing depends on the seed
                runs[name, seed] = run(name, data, schedule, detector.input_size, seed, args.work / "gaussian")
                write_text(args.output, json.dumps(figures | report(runs), indent=1) + "\n")
                print(name, seed, flush=True)
    print(plain(tables(figures | report(runs))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
