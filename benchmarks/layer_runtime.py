"""Runtime and memory of the graph layers, against eq. 4-6 as written and against other layers on the same graphs.

    python benchmarks/layer_runtime.py [-K 98 ...] [-B 1 32 ...] [--full] [--output layer_runtime.json]

Prints a table and writes JSON; what the figures mean stands in ``benchmarks/README.md``. The exit status is 1 where
a candidate that computes eq. 4-6 disagrees with the literal transcription, which is checked for every figure.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# The checkout that holds this script is what is measured, whatever is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.layer_candidates import CHANNELS, IN, Candidate, Case, layers, networks
from benchmarks.measuring import available_bytes, environment, peak_bytes, time_calls
from lgcn.files import write_text
from lgcn.graph import complete_edge_index

FULL_LANDMARKS, FULL_IMAGES = (17, 68, 98, 194, 478), (1, 8, 32, 128)
MODES = ("inference", "training")
TOLERANCE = 1e-5  # float32, relative to the largest value where that is above 1
MOST_NUMBERS = 4e9  # on all edges together: takes about 20 s and 16 GB


def call_of(candidate: Candidate, case: Case, mode: str) -> Callable[[], tuple[Tensor, ...]]:
    """Output [B, K, C'], and in training the gradients of the features and of all parameters, of a fixed loss."""
    images, landmarks, _ = case.x.shape
    candidate.module.train(mode == "training")
    if mode == "inference":

        def infer() -> tuple[Tensor, ...]:
            with torch.no_grad():
                return (candidate.run(case).view(images, landmarks, -1),)

        return infer
    wanted = [case.x, *candidate.module.parameters()]

    def train() -> tuple[Tensor, ...]:
        out = candidate.run(case).view(images, landmarks, -1)
        return out.detach(), *torch.autograd.grad(out, wanted, grad_outputs=slope(out))

    return train


def slope(out: Tensor) -> Tensor:
    """The gradient that comes from the loss: one value a channel, the same for every candidate."""
    return torch.linspace(-1, 1, out.shape[-1]).expand_as(out)


def disagreement(candidate: Candidate, case: Case, mode: str, result: tuple[Tensor, ...]) -> tuple[float, bool]:
    """Largest difference from the literal version, in outputs and feature gradients of the first and last image."""
    assert candidate.reference is not None
    images, landmarks, _ = case.x.shape
    edge_index = complete_edge_index(landmarks)
    worst, agrees = 0.0, True
    for image in sorted({0, images - 1}):
        x = case.x[image].detach().requires_grad_()
        one = (case.pos[image], case.confidence[image], edge_index, torch.arange(landmarks))
        with torch.set_grad_enabled(mode == "training"):
            out = candidate.reference(x, *one)
        expected = [out.detach()]
        if mode == "training":
            expected += torch.autograd.grad(out, x, grad_outputs=slope(out))
        for mine, right in zip(result, expected, strict=False):
            difference = float((mine[image] - right).abs().max())
            worst = max(worst, difference)
            agrees &= difference <= TOLERANCE * max(1.0, float(right.abs().max()))  # False where it is NaN
    return worst, agrees


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Runs everything."""
    results: list[dict[str, Any]] = []
    left_out: list[dict[str, Any]] = []
    described = environment()
    print("group       K    B mode       candidate                median    IQR/ms        MB    ratio")
    for landmarks in args.landmarks:
        torch.manual_seed(args.seed)
        groups = {"network": list(networks(landmarks, args.backend)), "layer": list(layers(landmarks))}
        for images, (group, candidates), mode in (
            (images, item, mode) for images in args.images for item in groups.items() for mode in MODES
        ):
            torch.manual_seed(args.seed)
            case = Case.draw(landmarks, images)
            baseline: float | None = None  # the first candidate's median, None where it is left out
            for place, candidate in enumerate(candidates):
                row: dict[str, Any] = {"group": group, "candidate": candidate.name, "mode": mode}
                row |= {"landmarks": landmarks, "images": images}
                numbers = candidate.numbers_per_edge * case.edge_index.shape[1]
                if numbers > min(MOST_NUMBERS, 0.8 * available_bytes() / 4):
                    left_out.append({**row, "why": f"about {4 * numbers / 1e9:.0f} GB on the edges"})
                    continue
                call = call_of(candidate, case, mode)
                result = call()
                if candidate.reference is not None:
                    difference, agrees = disagreement(candidate, case, mode, result)
                    row |= {"max_abs_difference": difference, "agrees": agrees}
                del result
                row |= time_calls(call, args.repeats, args.seconds) | {"peak_bytes": peak_bytes(call)}
                if place == 0:
                    baseline = row["median_s"]
                if baseline is not None:
                    key = "literal_over_this" if group == "network" else "this_over_dense_lgcn_conv"
                    row[key] = baseline / row["median_s"] if group == "network" else row["median_s"] / baseline
                results.append(row)
                print(line(row), flush=True)
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    network = {"in_channels": IN, "channels": CHANNELS, "dtype": "float32", "device": "cpu"}
    what = {"benchmark": "layer_runtime", "settings": settings, "network": network, "environment": described}
    return {**what, "results": results, "left_out": left_out}


def line(row: dict[str, Any]) -> str:
    """One line of the table."""
    low, high = row["quartiles_s"]
    ratio = row.get("literal_over_this", row.get("this_over_dense_lgcn_conv"))
    return (
        f"{row['group']:8} {row['landmarks']:4} {row['images']:4} {row['mode']:10} {row['candidate']:19} "
        f"{1e3 * row['median_s']:8.3f} ms {1e3 * (high - low):9.3f} {row['peak_bytes'] / 1e6:9.2f} "
        f"{'-' if ratio is None else f'{ratio:.2f}':>8}" + ("" if row.get("agrees", True) else "  DISAGREES")
    )


def main() -> int:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-K", "--landmarks", type=int, nargs="+", default=[98], help="default: 98")
    parser.add_argument("-B", "--images", type=int, nargs="+", default=[1, 32], help="default: 1 32")
    parser.add_argument("--full", action="store_true", help=f"K in {FULL_LANDMARKS} and B in {FULL_IMAGES}")
    parser.add_argument("--threads", type=int, default=2, help="default: 2")
    parser.add_argument("--repeats", type=int, default=15, help="timed calls at least (default: 15)")
    parser.add_argument("--seconds", type=float, default=1.0, help="timed seconds at least (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and inputs (default: 0)")
    parser.add_argument("--backend", default="inductor", help="of torch.compile, 'none' to leave it out")
    parser.add_argument("--output", type=Path, default=Path("layer_runtime.json"), help="default: layer_runtime.json")
    args = parser.parse_args()
    if args.full:
        args.landmarks, args.images = list(FULL_LANDMARKS), list(FULL_IMAGES)
    torch.set_num_threads(args.threads)
    measured = measure(args)
    write_text(args.output, json.dumps(measured, indent=2) + "\n")
    return int(not all(row.get("agrees", True) for row in measured["results"]))


if __name__ == "__main__":
    sys.exit(main())
