"""Ablation of the learned connectivity: the paper's Table 3 on 300-W, with each part removed in turn.

    python benchmarks/connectivity_ablation.py --root DIR/300w --work DIR [--model lgcn-68-paper] [--output FILE]

Stage 1 runs the frozen backbone once over all faces; stage 2 trains small refiners on its outputs. Both resume where
they were stopped: everything is kept under ``--work`` and written atomically. Prints tables and writes JSON;
``docs/ablation.md`` describes the experiments, and ``render_docs.py`` makes its tables.
"""

import argparse
import signal
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

# Measure the checkout that holds this script, whatever is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.ablation.degradations import CONDITIONS, REGIMES
from benchmarks.ablation.experiments import EXPERIMENTS, finished, run_all
from benchmarks.ablation.outputs import (
    PARTS,
    Extraction,
    Outputs,
    extract,
    load_tested,
    load_trained,
    shard_name,
)
from benchmarks.ablation.refiners import CAUSES, COMMON, VARIANTS
from benchmarks.ablation.report import (
    backbone_figures,
    calibration,
    comparisons,
    error_sizes,
    plain,
    shape_models,
    summary,
    tables,
)
from benchmarks.ablation.training import Schedule
from benchmarks.measuring import environment, write_figures
from lgcn.models import LandmarkDetector


def report(args: argparse.Namespace, settings: Extraction, schedule: Schedule) -> dict[str, Any]:
    """All results of the finished runs."""
    folder = args.work / "outputs"
    seeds = list(range(args.seeds))
    planned = [run for name in EXPERIMENTS for run in EXPERIMENTS[name].runs(seeds)]
    done = finished(planned, schedule, settings, args.work)
    tested = {part: load_tested(settings, folder, part, ()) for part in PARTS}
    trained: dict[str, dict[str, Outputs]] = {"trained on": {}, "held out": {}}
    for regime in REGIMES:
        trained["trained on"][regime] = load_trained(settings, folder, regime)
        trained["held out"][regime] = Outputs.load(folder / shard_name("held out as trained", regime, 0), ())
    backbone = backbone_figures(tested)
    return {
        "environment": environment(),
        "settings": {**asdict(settings), **asdict(schedule), "root": args.root.name, "seeds": seeds},
        "refiner": COMMON,
        "variants": {name: asdict(variant) for name, variant in {**VARIANTS, **CAUSES}.items()},
        "conditions": {name: str(change) for name, change in CONDITIONS.items()},
        "regimes": {name: str(change) for name, change in REGIMES.items()},
        "runs": {"done": len(done), "planned": len(dict.fromkeys(planned))},
        "backbone": {
            part: {decode: {c: sum(e) / len(e) for c, e in rows.items()} for decode, rows in decodes.items()}
            for part, decodes in backbone.items()
        },
        "error_sizes": error_sizes(trained),
        "calibration": calibration(tested["test"]),
        "summary": summary(done, seeds),
        "comparisons": comparisons(done, backbone, seeds),
        "shape_models": shape_models(tested["test"], trained["trained on"], done, seeds),
    }


def main(argv: list[str] | None = None) -> int:
    """Run the missing parts, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="300-W in its official layout")
    parser.add_argument("--work", type=Path, required=True, help="folder for intermediate files (1 GB)")
    parser.add_argument("--model", default="lgcn-68-paper", help="whose backbone is frozen (default: lgcn-68-paper)")
    parser.add_argument("--test", default="lfpw/testset", help="folder of the test faces (default: lfpw/testset)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each refiner (default: 3)")
    parser.add_argument("--rounds", type=int, default=Extraction.rounds, help="crops of a training face in a regime")
    parser.add_argument("--steps", type=int, default=Schedule.steps, help="batches of 32 crops a refiner is trained on")
    parser.add_argument(
        "--experiments", nargs="*", choices=EXPERIMENTS, default=list(EXPERIMENTS), help="tables to run (default: all)"
    )
    parser.add_argument(
        "--jobs", type=int, default=2, help="refiners trained at a time, threads of stage 1 (default: 2)"
    )
    parser.add_argument("--quick", action="store_true", help="few faces and steps, two seeds: shows that it runs")
    parser.add_argument("--output", type=Path, default=Path("ablation.json"), help="default: ablation.json")
    args = parser.parse_args(argv)

    settings = Extraction(str(args.root.resolve()), args.model, rounds=args.rounds, test=args.test)
    schedule = Schedule(steps=args.steps)
    if args.quick:
        settings, schedule = replace(settings, every=16, rounds=1, draws=1), Schedule(steps=50)
        args.work, args.seeds = args.work / "quick", min(args.seeds, 2)
    detector = LandmarkDetector.from_pretrained(args.model)
    torch.set_num_threads(args.jobs)
    extract(settings, args.work / "outputs")
    runs = [run for name in args.experiments for run in EXPERIMENTS[name].runs(range(args.seeds))]
    torch.set_num_threads(1)
    run_all(runs, schedule, settings, detector.input_size, args.work, args.jobs)

    measured_by = {"protocol": detector.protocol.name, "normalizer": detector.scheme.default_normalizer}
    figures = {**measured_by, **report(args, settings, schedule)}
    done = "{done} of {planned} runs".format(**figures["runs"])
    print("NME in per cent, protocol {protocol}, normaliser {normalizer}.".format(**measured_by))
    print(plain(tables(figures, figures["settings"]["seeds"])))
    write_figures(args.output, figures)
    print(f"\n{done}. Results: {args.output}")
    return 0


if __name__ == "__main__":
    # SIGTERM as an exception ends the training processes too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
