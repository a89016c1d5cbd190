"""Stage 2: training of one refiner on cached backbone outputs, and its errors on every face and condition."""

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.ablation.outputs import PARTS, Extraction, Outputs, load_tested, load_trained
from benchmarks.ablation.refiners import CAUSES, COMMON, VARIANTS, SampledRefiner, Variant, build
from lgcn.files import replace_when_done, write_text
from lgcn.losses import l1_loss
from lgcn.schemes import get_scheme
from lgcn.seeding import mix_seed
from lgcn.training.optim import create_optimizer
from lgcn.typing import Size


@dataclass(frozen=True)
class Run:
    """One refiner to train.

    Args:
        variant: a name in :data:`VARIANTS` or :data:`CAUSES`.
        regime: degradations of the training crops.
        start: decode whose landmarks are refined.
        seed: of the parameters and the order of the crops.
    """

    variant: str
    regime: str
    start: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.start}-{self.regime}-{self.variant}-{self.seed}"


@dataclass(frozen=True)
class Schedule:
    """Training of all refiners: AdamW, one cycle, L1 in pixels of the crop.

    Args:
        steps: number of batches.
        batch_size: crops in a batch.
        rate: highest learning rate.
        weight_decay: of AdamW.
    """

    steps: int = 2000
    batch_size: int = 32
    rate: float = 1e-3
    weight_decay: float = 1e-2


def variant_of(name: str) -> Variant:
    """A variant by its name."""
    return VARIANTS[name] if name in VARIANTS else CAUSES[name]


def is_done(run: Run, schedule: Schedule, settings: Extraction, work: Path) -> bool:
    """Whether the results of a run exist, made with this schedule and the current variant."""
    path = work / "runs" / f"{run.name}.json"
    return path.is_file() and json.loads(path.read_text(encoding="utf-8"))["of"] == _made_by(run, schedule, settings)


def execute(run: Run, schedule: Schedule, settings: Extraction, input_size: Size, work: Path) -> None:
    """Trains and tests one refiner and writes its results."""
    path = work / "runs" / f"{run.name}.json"
    variant = variant_of(run.variant)
    training = _load_trained(settings, work / "outputs", run.regime, run.start)
    channels = training.samples[run.start].shape[-1]
    shape = training.target.mean(dim=0)
    refiner = build(variant, get_scheme("ibug68"), channels, input_size, shape, run.seed)
    losses = train(refiner, training, run, schedule)
    figures: dict[str, Any] = {"of": _made_by(run, schedule, settings), "losses": losses, "nme": {}}
    for part in PARTS:
        tested = _load_tested(settings, work / "outputs", part, run.start)
        figures["nme"][part] = {
            condition: per_face(outputs, refine(refiner, outputs, run)) for condition, outputs in tested.items()
        }
        if part == "test":
            figures["weights"] = weight_figures(refiner, tested, variant)
    with replace_when_done(path.with_suffix(".safetensors")) as part:
        save_file(refiner.state_dict(), part)
    write_text(path, json.dumps(figures) + "\n")


def train(refiner: SampledRefiner, outputs: Outputs, run: Run, schedule: Schedule) -> list[float]:
    """Trains in place, in an order that depends on the seed alone; returns the mean loss of each tenth."""
    variant = variant_of(run.variant)
    edges = list(refiner.lgcn.connectivity.parameters())
    known = {id(parameter) for parameter in edges}
    rest = [parameter for parameter in refiner.parameters() if id(parameter) not in known]
    groups = [("refiner", rest, schedule.rate), ("connectivity", edges, schedule.rate * variant.faster)]
    optimizer = create_optimizer("adamw", groups, schedule.weight_decay)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        [group["lr"] for group in optimizer.param_groups],
        total_steps=schedule.steps,
        pct_start=0.1,
        cycle_momentum=False,
    )
    refiner.train()
    losses = []
    epochs = -(-schedule.steps * schedule.batch_size // len(outputs))
    generator = torch.Generator().manual_seed(mix_seed(run.seed, 2))
    order = torch.cat([torch.randperm(len(outputs), generator=generator) for _ in range(epochs)])
    for chosen in order.split(schedule.batch_size)[: schedule.steps]:
        given = inputs(outputs, run.start, variant, chosen)
        loss = l1_loss(refiner(*given), outputs.target[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        cycle.step()
        losses.append(loss.item())
    refiner.eval()
    return [round(part.mean().item(), 4) for part in torch.tensor(losses).tensor_split(10)]


def inputs(outputs: Outputs, start: str, variant: Variant, chosen: Tensor | slice) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs of the refiner for some crops: features, landmarks, confidences."""
    pos = outputs.pos[start][chosen]
    samples = outputs.samples[start][chosen].float().transpose(1, 2).unsqueeze(-1)
    confidence = outputs.confidence[chosen]
    if variant.confidence == "shuffled":
        # Training crops are in random order; in a test the next crop in the list shows another person.
        confidence = confidence.roll(1, dims=0)
    if variant.confidence == "oracle":
        error = (pos - outputs.target[chosen]).norm(dim=-1) / outputs.normalizer[chosen].unsqueeze(-1)
        confidence = torch.exp(-20 * error)
    return samples, pos, confidence


@torch.inference_mode()
def refine(refiner: SampledRefiner, outputs: Outputs, run: Run, batch_size: int = 64) -> Tensor:
    """Refined landmarks [N, K, 2] of all crops."""
    variant = variant_of(run.variant)
    parts = range(0, len(outputs), batch_size)
    return torch.cat([refiner(*inputs(outputs, run.start, variant, slice(n, n + batch_size))) for n in parts])


def per_face(outputs: Outputs, pos: Tensor) -> list[float]:
    """NME of each face in per cent, the mean over its crops."""
    errors = 100 * outputs.errors(pos).mean(dim=1).double()
    count = int(outputs.face.max()) + 1
    total = errors.new_zeros(count).index_add(0, outputs.face, errors)
    return (total / outputs.face.bincount(minlength=count)).tolist()


@torch.inference_mode()
def weight_figures(refiner: SampledRefiner, tested: dict[str, Outputs], variant: Variant) -> dict[str, float]:
    r"""Dependence of the edge weights on the face, on the test faces under the larger patch.

    ``moved``: share of the weight that lies on other edges than in the mean over faces,
    :math:`\frac12 \sum_j |e_{ij} - \bar e_{ij}|`; ``unsure``: weight of the quarter of the landmarks with the lowest
    confidences, relative to their mean weight; 1 if confidences make no difference.
    """
    outputs = tested["patch 40 %"]
    start = next(iter(outputs.samples))
    confidence = inputs(outputs, start, variant, slice(None))[2]
    weight = torch.cat([refiner.lgcn.connectivity.dense(part) for part in confidence.split(64)])
    if not weight.abs().sum() > 0:
        return {}
    mean = weight.mean(dim=0)
    moved = (weight - mean).abs().sum(dim=-1).mean() / mean.abs().sum(dim=-1).mean() / 2
    unsure = confidence <= confidence.quantile(0.25, dim=1, keepdim=True)
    got = (weight.abs() * unsure.unsqueeze(1)).sum(dim=(1, 2)).mean()
    expected = (mean.abs() * unsure.unsqueeze(1)).sum(dim=(1, 2)).mean()
    return {"moved": moved.item(), "unsure": (got / expected).item()}


def _made_by(run: Run, schedule: Schedule, settings: Extraction) -> dict[str, Any]:
    """All settings that determine a run, as JSON returns them."""
    variant = asdict(variant_of(run.variant))
    del variant["label"]
    made_by = {
        "run": asdict(run),
        "variant": variant,
        "common": COMMON,
        "schedule": asdict(schedule),
        "rounds": settings.rounds,
    }
    return json.loads(json.dumps(made_by))


@lru_cache(maxsize=1)
def _load_trained(settings: Extraction, folder: Path, regime: str, start: str) -> Outputs:
    return load_trained(settings, folder, regime, (start,))


@lru_cache(maxsize=len(PARTS))
def _load_tested(settings: Extraction, folder: Path, part: str, start: str) -> dict[str, Outputs]:
    return load_tested(settings, folder, part, (start,))
