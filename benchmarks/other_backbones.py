"""Gaussian refiners behind four networks that are not the shipped one: NME before and after, clean and under a patch.

    python benchmarks/other_backbones.py --root DIR/300w --work DIR [--output other_backbones.json]

For each network and seed: `lgcn fit` without a graph, briefly; the outputs of the frozen network, once, with patches
over up to half of the training crops; a Gaussian refiner on them. "Before" is the best of four decodes, chosen on the
held-out training faces; the table is on LFPW test. Stopped runs go on where they were: training from its last epoch,
outputs from their last shard, and finished runs are read from --output. About an hour a seed on two quiet cores.
"""

import argparse
import json
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

# The checkout that holds this script is what is measured, whatever is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.ablation.gaussian import REGIME, START, VARIANTS, Schedule, build, refine, train
from benchmarks.ablation.outputs import DECODES, Extraction, Outputs, extract, load_trained, shard_name
from benchmarks.measuring import environment
from lgcn.cli.main import main as lgcn
from lgcn.files import write_text
from lgcn.models import LandmarkDetector

CONDITIONS = ("clean", "patch 40 %")
DRAWS = 3
VARIANT = "features"


@dataclass(frozen=True)
class Network:
    """One row of the table.

    Args:
        label: what it is called.
        backbone: name of the backbone.
        options: of the backbone.
        rate: highest learning rate of the backbone.
    """

    label: str
    backbone: str
    options: dict[str, Any] = field(default_factory=dict)
    rate: float = 1e-3


NETWORKS = {
    "mobilenet": Network("MobileNetV3-Large, feature pyramid", "mobilenetv3_large_100"),
    "hourglass": Network("stacked hourglass, 2 x 64", "hourglass", {"num_stacks": 2, "width": 64}),
    "resnet18": Network("ResNet-18, feature pyramid", "resnet18"),
    "vit": Network("ViT-tiny/16, deconvolutions", "vit_tiny_patch16_224", rate=5e-4),
}


def fit(network: Network, seed: int, args: argparse.Namespace, folder: Path) -> Path:
    """Trains without a graph, or goes on; returns the folder of the model."""
    runs = folder / "runs"
    finished = folder / "model.txt"
    if finished.is_file():
        return folder / finished.read_text().strip()
    options = {
        "config": "lgcn-68",
        "seed_everything": seed,
        "ckpt_path": "last",
        "data.root": str(args.root),
        "data.num_workers": args.workers,
        "data.batch_size": 16,
        "model.detector.backbone": network.backbone,
        "model.detector.backbone_options": json.dumps(network.options),
        "model.detector.input_size": f"[{args.side}, {args.side}]",
        "model.detector.refiner.name": "none",
        "model.loss.refined_weight": 0.0,
        # Weights are random at the start and training is brief: heatmaps lead, and an average would lag behind.
        "model.loss.heatmap_weight": 1.0,
        "trainer.callbacks": "null",
        "model.backbone_lr": network.rate,
        "trainer.max_epochs": args.epochs,
        "trainer.accelerator": "cpu",
        "trainer.default_root_dir": str(runs),
        "trainer.enable_progress_bar": "false",
        "trainer.enable_model_summary": "false",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    status = lgcn(["fit", *words, *args.fit])
    if status:
        raise SystemExit(status)
    model = max(runs.glob("version_*/model"), key=lambda path: path.stat().st_mtime)
    write_text(finished, f"{model.relative_to(folder)}\n")
    return model


def load(folder: Path, part: str, condition: str) -> Outputs:
    """The crops of a part under a condition, with their features at the start."""
    draws = range(DRAWS if "patch" in condition else 1)
    return Outputs.join([Outputs.load(folder / shard_name(part, condition, draw), (START,)) for draw in draws])


def measure(name: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Everything of one network and seed."""
    folder = args.work / f"{name}_{args.side}px_{args.epochs}epochs_seed{seed}"
    model = fit(NETWORKS[name], seed, args, folder)
    settings = Extraction(str(args.root.resolve()), str(model), args.rounds, DRAWS, seed, args.every)
    outputs = folder / "outputs"
    extract(settings, outputs, kinds=(*CONDITIONS, REGIME))
    held_out = load(outputs, "held out", "clean")
    decode = min(DECODES, key=lambda each: held_out.errors(held_out.pos[each]).mean().item())
    training = load_trained(settings, outputs, REGIME, (START,))
    refiner = build(VARIANTS[VARIANT], training, LandmarkDetector.from_pretrained(model).input_size, seed)
    losses = train(refiner, training, Schedule(args.steps), seed)
    refiner.eval()
    result: dict[str, Any] = {"network": name, "seed": seed, "decode": decode, "losses": losses}
    for condition in CONDITIONS:
        tested = load(outputs, "test", condition)
        result[condition] = {
            "before": 100 * tested.errors(tested.pos[decode]).mean().item(),
            "after": 100 * tested.errors(refine(refiner, tested)).mean().item(),
        }
    return result


def table(runs: list[dict[str, Any]]) -> str:
    """Means over the seeds and their spread, as Markdown."""
    title = " | ".join(f"{condition}: before | after | gain" for condition in CONDITIONS)
    lines = [f"| network (seeds) | {title} |", "|---" * (1 + 3 * len(CONDITIONS)) + "|"]
    for name, network in NETWORKS.items():
        found = [run for run in runs if run["network"] == name]
        if not found:
            continue
        cells = [f"{network.label} ({len(found)})"]
        for condition in CONDITIONS:
            before, after = ([run[condition][when] for run in found] for when in ("before", "after"))
            gain = [first - second for first, second in zip(before, after, strict=True)]
            for values in (before, after, gain):
                spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
                cells.append(f"{statistics.mean(values):.3f}{spread}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run what is missing, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="300-W in its official layout")
    parser.add_argument("--work", type=Path, required=True, help="folder of models and outputs")
    parser.add_argument("--networks", nargs="*", choices=NETWORKS, default=list(NETWORKS), help="default: all")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--epochs", type=int, default=10, help="of a network (default: 10)")
    parser.add_argument("--side", type=int, default=128, help="height and width of the input (default: 128)")
    parser.add_argument("--rounds", type=int, default=2, help="crops per training face (default: 2)")
    parser.add_argument("--every", type=int, default=1, help="take every N-th face for the outputs (default: 1)")
    parser.add_argument("--steps", type=int, default=Schedule.steps, help="batches of 32 crops (default: 3000)")
    parser.add_argument("--workers", type=int, default=1, help="processes that read images (default: 1)")
    parser.add_argument("--fit", nargs=argparse.REMAINDER, default=[], help="further options of lgcn fit, last")
    parser.add_argument("--output", type=Path, default=Path("other_backbones.json"), help="default: %(default)s")
    args = parser.parse_args(argv)

    torch.set_num_threads(1)
    settings = {name: getattr(args, name) for name in ("epochs", "side", "rounds", "every", "steps")}
    figures: dict[str, Any] = {"environment": environment(), "settings": settings, "runs": []}
    if args.output.is_file():
        known = json.loads(args.output.read_text(encoding="utf-8"))
        if known["settings"] != settings:
            raise SystemExit(f"'{args.output}' has other settings, {known['settings']}: choose another --output")
        figures["runs"] = known["runs"]
    done = {(run["network"], run["seed"]) for run in figures["runs"]}
    for seed in args.seeds:
        for name in args.networks:
            if (name, seed) not in done:
                figures["runs"].append(measure(name, seed, args))
                write_text(args.output, json.dumps(figures, indent=1) + "\n")
                print(json.dumps(figures["runs"][-1]), flush=True)
    print(table(figures["runs"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
