"""Share of the graph part in the runtime of a whole detector with HRNet-W18.

    python benchmarks/detector_share.py [-B 1 32] [--output detector_share.json]

The graph part is :class:`lgcn.nn.LandmarkRefiner` (feature sampling, visual MLP, edges, layers) with the preset
``paper``, 98 landmarks and 270 channels of 64 x 64 features. It is timed inside each forward pass of the detector, so
that it finds the caches as the backbone leaves them; the share is the median over forward passes.
``benchmarks/README.md`` defines the quantities.
"""

import argparse
import copy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

# Measure the checkout that holds this script, whatever is installed.
if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.backends import compiled
from benchmarks.gaussian_candidates import RANK, fitted_refiner
from benchmarks.measuring import OtherProcesses, environment, time_calls, write_figures
from lgcn.models import LandmarkDetector, create_detector
from lgcn.nn import LandmarkRefiner, Refiner, for_inference
from lgcn.typing import KeyPoints

TOLERANCE = 1e-5
"""Largest difference from the eager refiner, relative to the input's side or the largest coordinate."""


class Stopwatch(Refiner):
    """Runs a module and records the duration of each call in seconds."""

    def __init__(self, run: Callable[..., Any]) -> None:
        super().__init__()
        self.run, self.seconds = run, [0.0]

    def forward(self, *args: Any, **options: Any) -> Any:
        started = time.perf_counter()
        out = self.run(*args, **options)
        self.seconds.append(time.perf_counter() - started)
        return out

    def refine(self, keypoints: KeyPoints, return_connectivity: bool = False) -> KeyPoints:
        return keypoints._replace(pos=self(keypoints.features, keypoints.pos, keypoints.confidence, keypoints.mask))


def quantiles(values: list[float]) -> tuple[float, list[float]]:
    """Median, and lower and upper quartile."""
    low, median, high = torch.tensor(values, dtype=torch.float64).quantile(torch.tensor([0.25, 0.5, 0.75]).double())
    return float(median), [float(low), float(high)]


def calibrate(backbone: nn.Module, images: Tensor) -> None:
    """Set batch norms to the statistics of these images; features of 300 untrained layers otherwise grow to 1e8."""
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        backbone(images)
    for norm in norms:
        norm.eval()


def time_within(detector: LandmarkDetector, images: Tensor, run: Callable[..., Any], args: Any) -> dict[str, Any]:
    """Times of forward passes of the detector and of the graph part within them, and their ratio."""
    watch = Stopwatch(run)
    detector.refiner = watch  # type: ignore[assignment]
    graph: list[float] = []
    share: list[float] = []

    def forward() -> None:
        started = time.perf_counter()
        detector(images)
        whole = time.perf_counter() - started
        graph.append(watch.seconds[-1])
        share.append(watch.seconds[-1] / whole)

    detector(images)
    whole = time_calls(forward, args.repeats, args.seconds, args.patience, warm_up=1)
    # Without the warm-up call.
    graph_s, graph_quartiles = quantiles(graph[-whole["calls"] :])
    median, quartiles = quantiles(share[-whole["calls"] :])
    return {
        "detector_s": whole["median_s"],
        "detector_quartiles_s": whole["quartiles_s"],
        "graph_s": graph_s,
        "graph_quartiles_s": graph_quartiles,
        "share": median,
        "share_quartiles": quartiles,
        "calls": whole["calls"],
    }


def parts(refiner: LandmarkRefiner, given: tuple[Any, ...], args: Any) -> dict[str, dict[str, Any]]:
    """Median times of features, edges and layers, each called alone and eagerly."""
    features, pos, confidence = given[:3]
    x, p = refiner.node_features(features, pos, confidence)
    weight = refiner.lgcn.connectivity.dense(confidence)
    calls: dict[str, Callable[[], object]] = {
        "features": lambda: refiner.node_features(features, pos, confidence),
        "edges": lambda: refiner.lgcn.connectivity.dense(confidence),
        "layers": lambda: refiner.lgcn(x, p, confidence, edge_weight=weight),
        "all": lambda: refiner(features, pos, confidence),
    }
    return {name: time_calls(call, args.repeats, args.seconds, args.patience) for name, call in calls.items()}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Measure everything."""
    torch.manual_seed(args.seed)
    described, others, started = environment(), OtherProcesses(), time.perf_counter()
    size = (args.size, args.size)
    detector = create_detector("paper", scheme="wflw98", backbone=args.backbone, input_size=size).eval()
    calibrate(detector.backbone, torch.randn(2, 3, *size))
    refiner = detector.refiner
    assert refiner is not None
    inference = for_inference(refiner)
    runs: dict[str, Callable[..., Any]] = {"eager": refiner, "for_inference": inference}
    if args.backend != "none":
        runs["for_inference compiled"] = compiled(inference, args.backend)
    exact = set(runs)
    runs["GaussianRefiner"] = fitted_refiner(refiner.num_landmarks, RANK, refiner.feature_channels, size)
    results: list[dict[str, Any]] = []
    alone: list[dict[str, Any]] = []
    print("   B refiner                  detector       graph     share")
    with torch.no_grad():
        for images in args.images:
            inputs = torch.rand(images, 3, *size)
            seen = Stopwatch(refiner)
            given: list[tuple[Any, ...]] = []
            seen.register_forward_pre_hook(lambda _, args, to=given: to.append(args))
            detector.refiner = seen  # type: ignore[assignment]
            right = detector(inputs).pos
            for name, run in runs.items():
                row = {"refiner": name, "images": images, **time_within(detector, inputs, run, args)}
                if name in exact:
                    difference = float((run(*given[0]) - right).abs().max())
                    agrees = difference <= TOLERANCE * max(args.size, float(right.abs().max()))
                    row |= {"max_abs_difference": difference, "agrees": agrees}
                results.append(row)
                print(
                    f"{images:4} {name:22} {1e3 * row['detector_s']:8.1f} ms {1e3 * row['graph_s']:8.2f} ms "
                    f"{100 * row['share']:7.2f} %" + ("" if row.get("agrees", True) else "  DISAGREES"),
                    flush=True,
                )
            channels, *cells = given[0][0].shape[1:]
            for name, figures in parts(copy.deepcopy(refiner), given[0], args).items():
                alone.append({"part": name, "images": images, **figures})
    settings = {key: value for key, value in vars(args).items() if key != "output"}
    network = {"landmarks": detector.scheme.num_landmarks, "feature_channels": channels, "feature_cells": cells}
    header: dict[str, Any] = {
        "benchmark": "detector_share",
        "settings": settings,
        "network": network,
        "environment": described,
        "others_share": others.share,
    }
    header["seconds"] = round(time.perf_counter() - started, 1)
    return {**header, "results": results, "parts": alone, "left_out": []}


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-B", "--images", type=int, nargs="+", default=[1, 32], help="default: 1 32")
    parser.add_argument("--backbone", default="hrnet_w18", help="default: hrnet_w18")
    parser.add_argument("--size", type=int, default=256, help="side of the input (default: 256)")
    parser.add_argument("--threads", type=int, default=2, help="default: 2")
    parser.add_argument("--repeats", type=int, default=15, help="timed calls at least (default: 15)")
    parser.add_argument("--seconds", type=float, default=1.0, help="timed seconds at least (default: 1)")
    parser.add_argument("--patience", type=float, default=30.0, help="seconds for one measurement (default: 30)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and inputs (default: 0)")
    parser.add_argument("--backend", default="inductor", help="of torch.compile, 'none' to leave it out")
    parser.add_argument("--output", type=Path, default=Path("detector_share.json"), help="default: detector_share.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    measured = measure(args)
    write_figures(args.output, measured)
    return int(not all(row.get("agrees", True) for row in measured["results"]))


if __name__ == "__main__":
    sys.exit(main())
