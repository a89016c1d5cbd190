"""What the Gaussian refiner is worth on a frozen backbone: closed form, trained, and with confidences of another face.

    python benchmarks/gaussian_refiner.py --root DIR/300w --work DIR [--model lgcn-68] [--output gaussian.json]

The backbone's outputs are those of ``connectivity_ablation.py`` (its stage 1, regime "patches") and are computed where
``--work`` does not hold them yet. Choices are to be made on "held out", training faces that the backbone has not seen;
"test" is for reporting. Prints a table and writes JSON after every run.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# The checkout that holds this script is what is measured, whatever is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.ablation.degradations import CONDITIONS
from benchmarks.ablation.outputs import PARTS, Extraction, Outputs, extract, load_tested, load_trained
from benchmarks.measuring import environment
from lgcn.files import write_text
from lgcn.losses import l1_loss
from lgcn.models import LandmarkDetector
from lgcn.nn.models.gaussian_refiner import GaussianRefiner
from lgcn.training.samplers import mix_seed
from lgcn.typing import Size

START, REGIME = "softargmax", "patches"


class NoGraph(GaussianRefiner):
    """The offsets alone: each landmark moves by what is known of it, in the same aligned frame."""

    def forward(
        self,
        features: Tensor | None,
        pos: Tensor,
        confidence: Tensor | None,
        mask: Tensor | None = None,
    ) -> Tensor:
        similarity, observed, _ = self.align(features, pos, confidence, mask)
        return self._to_input(similarity, observed)


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Args:
        label: what the row is called.
        options: of the refiner.
        trained: whether it is trained; if not, it is what ``fit`` makes of statistics.
        build: the class.
    """

    label: str
    options: dict[str, Any] = field(default_factory=dict)
    trained: bool = True
    build: Callable[..., GaussianRefiner] = GaussianRefiner


VARIANTS = {
    "closed_type": Variant("closed form, noise by type", {"noise_inputs": ()}, trained=False),
    "closed": Variant("closed form, noise by type and confidence", {"noise_inputs": ("confidence",)}, trained=False),
    "no_graph": Variant("no graph: offsets alone", build=NoGraph),
    "type": Variant("noise by type", {"noise_inputs": ()}),
    "confidence": Variant("noise by type and confidence", {"noise_inputs": ("confidence",)}),
    "features": Variant("noise by type, confidence and features"),
    "points": Variant(
        "noise by type and confidence, no features", {"noise_inputs": ("confidence",), "features": False}
    ),
    "full": Variant("full 2 x 2 noise by type and confidence", {"noise_inputs": ("confidence",), "noise": "full"}),
}


@dataclass(frozen=True)
class Schedule:
    """How refiners are trained: AdamW, one cycle, L1 in pixels of the crop.

    Args:
        steps: batches.
        batch_size: crops in a batch.
        rate: highest learning rate.
        weight_decay: of the MLPs; prior and noise, which come from statistics, have none.
    """

    steps: int = 3000
    batch_size: int = 32
    rate: float = 1e-3
    weight_decay: float = 1e-2


def inputs(refiner: GaussianRefiner, outputs: Outputs, chosen: Tensor | slice, shift: int = 0) -> tuple[Any, ...]:
    """Features, landmarks and confidences of some crops; those of the crop ``shift`` places before it."""
    features = outputs.samples[START][chosen].float() if refiner.feature_channels else None
    confidence = outputs.confidence.roll(shift, dims=0) if shift else outputs.confidence
    return features, outputs.pos[START][chosen], confidence[chosen]


def build(variant: Variant, training: Outputs, input_size: Size, seed: int) -> GaussianRefiner:
    """A refiner whose prior and noise are fitted to the training crops."""
    options = dict(variant.options)
    channels = training.samples[START].shape[-1] if options.pop("features", variant.trained) else 0
    if not variant.trained:
        options["hidden_channels"] = ()
    torch.manual_seed(mix_seed(seed, 1))
    refiner = variant.build(training.target.shape[1], channels, input_size, **options)
    return refiner.fit(training.target, training.pos[START], training.confidence)


def train(refiner: GaussianRefiner, outputs: Outputs, schedule: Schedule, seed: int) -> list[float]:
    """Trains in place and returns the mean loss of each tenth. The order of the crops depends on the seed alone."""
    statistics = [*refiner.prior.parameters(), *refiner.noise.parameters()]
    known = {id(parameter) for parameter in statistics}
    rest = [parameter for parameter in refiner.parameters() if id(parameter) not in known]
    groups = [{"params": rest}, {"params": statistics, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, schedule.rate, weight_decay=schedule.weight_decay)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, schedule.rate, total_steps=schedule.steps, pct_start=0.1, cycle_momentum=False
    )
    generator = torch.Generator().manual_seed(mix_seed(seed, 2))
    epochs = -(-schedule.steps * schedule.batch_size // len(outputs))
    order = torch.cat([torch.randperm(len(outputs), generator=generator) for _ in range(epochs)])
    losses = []
    for chosen in order.split(schedule.batch_size)[: schedule.steps]:
        loss = l1_loss(refiner(*inputs(refiner, outputs, chosen)), outputs.target[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        cycle.step()
        losses.append(loss.item())
    return [round(part.mean().item(), 4) for part in torch.tensor(losses).tensor_split(10)]


@torch.inference_mode()
def errors(refiner: GaussianRefiner, outputs: Outputs, shift: int = 0, batch_size: int = 128) -> float:
    """NME in per cent."""
    parts = [slice(n, n + batch_size) for n in range(0, len(outputs), batch_size)]
    pos = torch.cat([refiner(*inputs(refiner, outputs, part, shift)) for part in parts])
    return 100 * outputs.errors(pos).mean().item()


def run(name: str, data: dict[str, Any], schedule: Schedule, input_size: Size, seed: int) -> dict[str, Any]:
    """Fits, trains and tests one refiner."""
    variant = VARIANTS[name]
    started = time.perf_counter()
    refiner = build(variant, data["train"], input_size, seed)
    fitted = time.perf_counter()
    losses = train(refiner, data["train"], schedule, seed) if variant.trained else []
    result = {
        "variant": name,
        "seed": seed,
        "fit_s": fitted - started,
        "train_s": time.perf_counter() - fitted,
        "losses": losses,
    }
    refiner.eval()
    for part in PARTS:
        tested = data[part].items()
        result[part] = {condition: errors(refiner, outputs) for condition, outputs in tested}
        # Crops follow one another face by face: the one before shows another person.
        result[f"{part}, confidences of another face"] = {c: errors(refiner, o, shift=1) for c, o in tested}
    return result


def table(figures: dict[str, Any], part: str) -> str:
    """Means over the seeds, as plain text."""

    def line(label: str, rows: list[dict[str, float]]) -> str:
        return f"{label:48}" + "".join(f"{sum(row[c] for row in rows) / len(rows):>12.3f}" for c in CONDITIONS)

    lines = [f"{part:48}" + "".join(f"{c:>12}" for c in CONDITIONS), line("backbone", [figures["backbone"][part]])]
    for name, variant in VARIANTS.items():
        rows = [result for result in figures["runs"] if result["variant"] == name]
        if rows:
            lines.append(line(f"{variant.label} ({len(rows)})", [row[part] for row in rows]))
            swapped = f"{part}, confidences of another face"
            lines.append(line("  confidences of another face", [row[swapped] for row in rows]))
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Runs, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="300-W in its official layout")
    parser.add_argument("--work", type=Path, required=True, help="folder of the backbone's outputs")
    parser.add_argument("--model", default="lgcn-68", help="whose backbone is frozen (default: lgcn-68)")
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=list(VARIANTS), help="default: all")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--steps", type=int, default=Schedule.steps, help="batches of 32 crops (default: 3000)")
    parser.add_argument("--output", type=Path, default=Path("gaussian.json"), help="default: gaussian.json")
    args = parser.parse_args(argv)

    settings, schedule = Extraction(str(args.root.resolve()), args.model), Schedule(args.steps)
    folder = args.work / "outputs"
    torch.set_num_threads(1)
    try:
        data: dict[str, Any] = {part: load_tested(settings, folder, part, (START,)) for part in PARTS}
        data["train"] = load_trained(settings, folder, REGIME, (START,))
    except FileNotFoundError:
        extract(settings, folder)
        return main(argv)
    input_size = LandmarkDetector.from_pretrained(args.model).input_size
    figures: dict[str, Any] = {
        "environment": environment(),
        "settings": {**vars(settings), **vars(schedule), "root": args.root.name},
        "backbone": {
            part: {c: 100 * o.errors(o.pos[START]).mean().item() for c, o in data[part].items()} for part in PARTS
        },
        "runs": [],
    }
    for seed in args.seeds:
        for name in args.variants:
            if VARIANTS[name].trained or seed == args.seeds[0]:  # without training nothing depends on the seed
                figures["runs"].append(run(name, data, schedule, input_size, seed))
                write_text(args.output, json.dumps(figures, indent=1) + "\n")
                print(name, seed, json.dumps(figures["runs"][-1]["test"]), flush=True)
    for part in PARTS:
        print(f"\n{table(figures, part)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
