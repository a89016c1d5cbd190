"""Gaussian refiners on cached backbone outputs: variants, training, errors of every face, coverage."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks.ablation.outputs import PARTS, Outputs
from benchmarks.ablation.training import per_face
from benchmarks.ranking import auroc
from lgcn.covariance import region_limit, squared_mahalanobis
from lgcn.files import replace_when_done, write_text
from lgcn.losses import gaussian_nll_loss, l1_loss
from lgcn.nn import GaussianRefiner
from lgcn.seeding import mix_seed
from lgcn.typing import KeyPoints, Size

START, REGIME = "softargmax", "patches"
SWAPPED = "confidences of another face"
FAILURE = 8.0  # per cent


class NoGraph(GaussianRefiner):
    """The offsets alone: each landmark moves by what is known of it, in the same aligned frame."""

    def forward(
        self, features: Tensor | None, pos: Tensor, confidence: Tensor | None, mask: Tensor | None = None
    ) -> Tensor:
        similarity, observed, _ = self.align(features, pos, confidence, mask)
        return self._to_input(similarity, observed)


class Transformer(GaussianRefiner):
    """Three layers of self-attention over landmarks, with the same inputs in the same frame."""

    def __init__(self, *args: Any, width: int = 64, **options: Any) -> None:
        super().__init__(*args, **options)
        K, C = self.num_landmarks, self.feature_channels
        self.types = nn.Parameter(0.02 * torch.randn(K, width))
        self.embed = nn.Linear(C + 3, width)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.output = nn.Linear(width, 2)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(
        self, features: Tensor | None, pos: Tensor, confidence: Tensor | None, mask: Tensor | None = None
    ) -> Tensor:
        assert features is not None
        assert confidence is not None
        similarity, observed, _ = self.align(features, pos, confidence, mask)
        inputs = torch.cat([features, confidence.unsqueeze(-1), observed - self.prior.expectation()], dim=-1)
        return self._to_input(similarity, observed + self.output(self.encoder(self.embed(inputs) + self.types)))


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Args:
        label: of the row.
        options: of the refiner.
        trained: False for the closed form, what ``fit`` makes of statistics.
        features: whether the refiner sees features at the landmarks.
        likelihood: weight of the negative log-likelihood.
        build: the class.
    """

    label: str
    options: dict[str, Any] = field(default_factory=dict)
    trained: bool = True
    features: bool = True
    likelihood: float = 0.0
    build: Callable[..., GaussianRefiner] = GaussianRefiner


_CONFIDENCE = {"noise_inputs": ("confidence",)}

VARIANTS = {
    "closed_type": Variant("closed form, noise by type", {"noise_inputs": ()}, trained=False, features=False),
    "closed": Variant("closed form, noise by type and confidence", _CONFIDENCE, trained=False, features=False),
    "closed_mixture": Variant(
        "closed form, full 2 x 2 noise, mixture of 3",
        _CONFIDENCE | {"noise": "full", "num_components": 3},
        trained=False,
        features=False,
    ),
    "no_graph": Variant("no graph: offsets alone", build=NoGraph),
    "transformer": Variant("transformer over landmarks", {"offset": False}, build=Transformer),
    "type": Variant("noise by type", {"noise_inputs": ()}),
    "confidence": Variant("noise by type and confidence", _CONFIDENCE),
    "features": Variant("noise by type, confidence and features"),
    "points": Variant("noise by type and confidence, no features", _CONFIDENCE, features=False),
    "full": Variant("full 2 x 2 noise by type and confidence", _CONFIDENCE | {"noise": "full"}),
    "mixture": Variant("full 2 x 2 noise, mixture of 3", _CONFIDENCE | {"noise": "full", "num_components": 3}),
    "decoder": Variant("full 2 x 2 noise, decoder", _CONFIDENCE | {"noise": "full", "decoder_channels": 128}),
    "likelihood": Variant("noise by type and confidence, likelihood 0.05", _CONFIDENCE, likelihood=0.05),
    "rank4": Variant("rank 4", _CONFIDENCE | {"rank": 4}),
    "rank8": Variant("rank 8", _CONFIDENCE | {"rank": 8}),
    "rank32": Variant("rank 32", _CONFIDENCE | {"rank": 32}),
}

COMPARISONS = (
    ("confidence", "no_graph"),
    ("confidence", "transformer"),
    ("confidence", "type"),
    ("confidence", f"confidence, {SWAPPED}"),
    ("full", "confidence"),
    ("mixture", "full"),
    ("closed_mixture", "closed"),
    ("decoder", "full"),
    ("features", "confidence"),
    ("rank8", "confidence"),
    ("rank32", "confidence"),
)
"""Pairs of rows; the second is subtracted from the first."""


@dataclass(frozen=True)
class Schedule:
    """How refiners are trained: AdamW, one cycle, L1 in pixels of the crop, weights averaged over the second half.

    Args:
        steps: batches.
        batch_size: crops in a batch.
        rate: highest learning rate.
        weight_decay: of the networks; prior and noise, which come from statistics, have none.
        average: decay per step of the weights' moving average.
    """

    steps: int = 3000
    batch_size: int = 32
    rate: float = 1e-3
    weight_decay: float = 1e-2
    average: float = 0.998


def keypoints(refiner: GaussianRefiner, outputs: Outputs, chosen: Tensor | slice, shift: int = 0) -> KeyPoints:
    """Landmarks of some crops, with the confidences of the crops ``shift`` places before them."""
    features = outputs.samples[START][chosen].float() if refiner.feature_channels else None
    confidence = outputs.confidence.roll(shift, dims=0) if shift else outputs.confidence
    return KeyPoints(outputs.pos[START][chosen], confidence[chosen], features=features)


def build(variant: Variant, training: Outputs, input_size: Size, seed: int) -> GaussianRefiner:
    """A refiner whose prior and noise are fitted to the training crops."""
    channels = training.samples[START].shape[-1] if variant.features else 0
    options = variant.options if variant.trained else {**variant.options, "hidden_channels": ()}
    torch.manual_seed(mix_seed(seed, 1))
    refiner = variant.build(training.target.shape[1], channels, input_size, **options)
    return refiner.fit(training.target, training.pos[START], training.confidence)


def train(
    refiner: GaussianRefiner, outputs: Outputs, schedule: Schedule, seed: int, likelihood: float = 0.0
) -> list[float]:
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
    averaged = AveragedModel(refiner, multi_avg_fn=get_ema_multi_avg_fn(schedule.average))
    losses: list[float] = []
    for chosen in order.split(schedule.batch_size)[: schedule.steps]:
        given, target = keypoints(refiner, outputs, chosen), outputs.target[chosen]
        if likelihood > 0:
            refined = refiner.refine(given)
            assert refined.covariance is not None
            loss = l1_loss(refined.pos, target)
            loss = loss + likelihood * gaussian_nll_loss(refined.pos.detach(), target, refined.covariance)
        else:
            loss = l1_loss(refiner(given.features, given.pos, given.confidence), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        cycle.step()
        losses.append(loss.item())
        if len(losses) > schedule.steps // 2:
            averaged.update_parameters(refiner)
    refiner.load_state_dict(averaged.module.state_dict())
    return [round(part.mean().item(), 4) for part in torch.tensor(losses).tensor_split(10)]


@torch.inference_mode()
def refine(refiner: GaussianRefiner, outputs: Outputs, shift: int = 0, batch_size: int = 128) -> Tensor:
    """Refined landmarks [N, K, 2] of all crops."""
    parts = [keypoints(refiner, outputs, slice(n, n + batch_size), shift) for n in range(0, len(outputs), batch_size)]
    return torch.cat([refiner(part.features, part.pos, part.confidence) for part in parts])


@torch.inference_mode()
def certainty(refiner: GaussianRefiner, held_out: dict[str, Outputs], test: dict[str, Outputs]) -> dict[str, Any]:
    """Calibrates on held-out faces under all conditions, and measures on test faces.

    ``coverage``: share of the landmarks in their 90 % regions; ``error_ratio``: mean error over its prediction;
    ``auroc``: how well the expected error of a face, over its size, tells faces with an NME above 8 % from others, on
    the degraded crops of the held-out faces, beside the mean logarithm of the confidences.
    """
    joined, groups = Outputs.join(list(held_out.values())), torch.arange(len(held_out))
    sizes = torch.tensor([len(each) for each in held_out.values()])
    before = {condition: _coverage(refiner, outputs)["coverage"] for condition, outputs in test.items()}
    refiner.calibrate(keypoints(refiner, joined, slice(None)), joined.target, groups=groups.repeat_interleave(sizes))
    measured = {condition: _coverage(refiner, outputs) for condition, outputs in test.items()}
    hard = Outputs.join([outputs for condition, outputs in held_out.items() if condition != "clean"])
    refined = refiner.refine(keypoints(refiner, hard, slice(None)))
    assert refined.covariance is not None
    failed = 100 * hard.errors(refined.pos).mean(1) > FAILURE
    expected = refined.expected_error.mean(1) / (refined.pos.amax(1) - refined.pos.amin(1)).norm(dim=-1)
    return {
        "weight": refiner.calibration.weight.tolist(),
        "error_factor": refiner.calibration.error_factor.item(),
        "coverage_before": before,
        **{name: {c: each[name] for c, each in measured.items()} for name in ("coverage", "error_ratio")},
        "held_out_coverage": {c: _coverage(refiner, outputs)["coverage"] for c, outputs in held_out.items()},
        "auroc": {
            "expected_error": auroc(expected, failed),
            "confidence": auroc(-hard.confidence.clamp_min(1e-3).log().mean(1), failed),
        },
    }


@torch.inference_mode()
def half_masked(refiner: GaussianRefiner, outputs: Outputs) -> dict[str, float]:
    """Errors in per cent of the half of the landmarks that is hidden: predicted, and of the aligned mean shape."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(len(outputs), outputs.target.shape[1], generator=generator).argsort(1) % 2 == 0
    given = keypoints(refiner, outputs, slice(None))
    similarity, *_ = refiner.align(given.features, given.pos, given.confidence, mask)
    mean = refiner._to_input(similarity, refiner.prior.expectation().expand_as(given.pos))
    refined = refiner(given.features, given.pos, given.confidence, mask)
    return {
        "predicted": 100 * outputs.errors(refined)[~mask].mean().item(),
        "mean_shape": 100 * outputs.errors(mean)[~mask].mean().item(),
    }


def run(name: str, data: dict[str, Any], schedule: Schedule, input_size: Size, seed: int, work: Path) -> dict[str, Any]:
    """Fit, train and test one refiner; read the results where they exist."""
    variant, path = VARIANTS[name], work / f"{name}-{seed}.json"
    made_by = json.loads(json.dumps({"options": variant.options, "crops": len(data["train"]), **vars(schedule)}))
    if path.is_file():
        result = json.loads(path.read_text(encoding="utf-8"))
        if result["of"] == made_by:
            return result
    started = time.perf_counter()
    refiner = build(variant, data["train"], input_size, seed)
    fitted = time.perf_counter()
    losses = train(refiner, data["train"], schedule, seed, variant.likelihood) if variant.trained else []
    result = {"of": made_by, "variant": name, "seed": seed, "fit_s": fitted - started}
    result |= {"train_s": time.perf_counter() - fitted, "losses": losses}
    refiner.eval()
    for part in PARTS:
        tested = data[part].items()
        result[part] = {c: per_face(outputs, refine(refiner, outputs)) for c, outputs in tested}
        # Crops follow one another face by face: the one before shows another person.
        result[f"{part}, {SWAPPED}"] = {
            c: per_face(outputs, refine(refiner, outputs, shift=1)) for c, outputs in tested
        }
    if variant.build is GaussianRefiner:
        result["half_masked"] = half_masked(refiner, data["test"]["clean"])
        result["certainty"] = certainty(refiner, data["held out"], data["test"])
    with replace_when_done(path.with_suffix(".safetensors")) as file:
        save_file({key: value.contiguous() for key, value in refiner.state_dict().items()}, file)
    write_text(path, json.dumps(result) + "\n")
    return result


def _coverage(refiner: GaussianRefiner, outputs: Outputs, level: float = 0.9) -> dict[str, float]:
    refined = refiner.refine(keypoints(refiner, outputs, slice(None)))
    assert refined.covariance is not None
    errors = refined.pos - outputs.target
    inside = squared_mahalanobis(errors, refined.covariance) <= region_limit(level)
    return {
        "coverage": inside.float().mean().item(),
        "error_ratio": (errors.norm(dim=-1).mean() / refined.expected_error.mean()).item(),
    }
