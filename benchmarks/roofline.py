"""Roofline of the dense path: measured time against a lower bound from operations and bytes.

    python benchmarks/roofline.py [-K 98 478 ...] [-B 1 32 ...] [--output roofline.json]

A step takes at least its operations at the rate of a large matrix product, and at least its bytes at the bandwidth of
the memory that its operands fit into. The larger of the two is the bound of the step; the bound of a forward or
backward pass is the sum over its steps. :mod:`benchmarks.flops` counts operations and bytes.

No implementation reaches the bound: sums and exponentials never run at the rate of a matrix product, and operator
overhead is not included. The ratio measured / bound therefore limits from above what could still be gained.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

# Measure the checkout that holds this script, whatever is installed.
if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.agreement import call_of
from benchmarks.flops import BYTES, Network, Step, backward, forward
from benchmarks.layer_candidates import CHANNELS, IN, Candidate, Case, networks
from benchmarks.measuring import OtherProcesses, environment, time_calls, write_figures
from lgcn.nn import for_inference

PLACES = ((98, 1), (98, 32), (478, 8))
BLOCKS = (1 << 19, 1 << 23, 1 << 28)
"""Bytes: within the private caches, within the shared cache, and beyond."""
SIDE = 2048
"""Of the matrix product that measures the rate of operations."""


class Peaks(NamedTuple):
    """Peak rates of the machine."""

    operations_per_s: float
    bytes_per_s: dict[int, float]
    """Size of the block -> bandwidth."""

    def bandwidth(self, size: int) -> float:
        """Bandwidth of the largest measured block that is not larger than ``size``."""
        fitting = [block for block in self.bytes_per_s if block <= size]
        return self.bytes_per_s[max(fitting) if fitting else min(self.bytes_per_s)]

    def bound(self, step: Step) -> tuple[float, str]:
        """Lower bound of a step in seconds, and what limits it."""
        arithmetic = step.operations / self.operations_per_s
        traffic = step.bytes / self.bandwidth(step.bytes)
        return (arithmetic, "operations") if arithmetic >= traffic else (traffic, "bytes")


def measure_peaks(side: int = SIDE, blocks: tuple[int, ...] = BLOCKS, seconds: float = 0.5) -> Peaks:
    """Best rates of this process over several calls.

    Operations: a product of two float32 matrices. Bandwidth: a sum that reads a block of float32 repeatedly, so that
    one call reads 256 MB whatever the size of the block; beyond the caches also copies and additions.
    """
    left, right = torch.rand(side, side), torch.rand(side, side)
    out = torch.empty(side, side)
    fastest = best(lambda: torch.mm(left, right, out=out), seconds)
    bandwidths: dict[int, float] = {}
    most = max(blocks)
    for block in sorted(blocks):
        threads = torch.get_num_threads()
        # Each thread reads its part of the block repeatedly.
        part = torch.rand(threads, 1, max(1, block // BYTES // threads))
        repeated = part.expand(-1, max(1, most // block), -1)
        sums = torch.empty(repeated.shape[:2])
        rate = repeated.numel() * BYTES / best(partial(torch.sum, repeated, 2, out=sums), seconds)
        if block == most:
            rate = max(rate, _streaming(part.flatten(), seconds))
        bandwidths[block] = rate
    return Peaks(2 * side**3 / fastest, bandwidths)


def _streaming(block: Tensor, seconds: float) -> float:
    """Bandwidth of copies and additions of whole blocks."""
    other, to = torch.rand_like(block), torch.empty_like(block)
    copy = 2 * block.nbytes / best(lambda: to.copy_(block), seconds)
    return max(copy, 3 * block.nbytes / best(lambda: torch.add(block, other, out=to), seconds))


def best(call: Callable[[], object], seconds: float) -> float:
    """Shortest time of at least three calls."""
    for _ in range(2):
        call()
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return min(times)


def steps_of(candidate: Candidate, mode: str, net: Network) -> list[tuple[str, Step]]:
    """Steps of a candidate, each with its direction."""
    training = mode == "training"
    with_table = "for_inference" not in candidate.name
    steps = [("forward", step) for step in forward(net, with_table, training)]
    return steps + ([("backward", step) for step in backward(net)] if training else [])


def parts(candidate: Candidate, case: Case) -> dict[str, Callable[[], object]]:
    """The eager path in three parts: table, edges, layers."""
    lgcn = candidate.module
    connectivity: Any = lgcn.connectivity
    with torch.no_grad():
        weight: Tensor = connectivity.dense(case.confidence)

    precomputed = for_inference(connectivity)
    return {
        "table": connectivity.edge_table,
        "pair scores, softmax": lambda: precomputed.dense(case.confidence),
        "displacement, layers": lambda: lgcn(*case.dense, edge_weight=weight),
    }


def step_names(part: str, net: Network) -> list[Step]:
    """Forward steps of one of :func:`parts`."""
    of = {"table": ["table"], "pair scores, softmax": ["pair scores", "softmax"]}
    named = of.get(part, ["displacement", *(f"layer {place + 1}" for place in range(len(net.channels)))])
    return [step for step in forward(net, table=True) if step.name in named]


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Measure everything."""
    described, others, started = environment(), OtherProcesses(), time.perf_counter()
    peaks = measure_peaks(args.side, tuple(args.blocks), min(0.5, args.seconds))
    print(f"product of {args.side} x {args.side} matrices: {peaks.operations_per_s / 1e9:.1f} GFLOP/s")
    for block, rate in peaks.bytes_per_s.items():
        print(f"block of {block / 1e6:.2f} MB: {rate / 1e9:.1f} GB/s")
    print("   K    B mode       candidate                            measured      bound    ratio")
    results: list[dict[str, Any]] = []
    steps: list[dict[str, Any]] = []
    part_rows: list[dict[str, Any]] = []
    effort = (args.repeats, args.seconds, args.patience)
    for landmarks, images in args.places:
        torch.manual_seed(args.seed)
        net, case = Network(landmarks, images, IN, CHANNELS), Case.draw(landmarks, images)
        where = {"landmarks": landmarks, "images": images}
        for direction, step in [("forward", s) for s in forward(net, True)] + [("backward", s) for s in backward(net)]:
            bound, limit = peaks.bound(step)
            counted = {"direction": direction, "step": step.name, "operations": step.operations, "bytes": step.bytes}
            steps.append({**where, **counted, "bound_s": bound, "limited_by": limit})
        candidates = {each.name: each for each in networks(landmarks, args.backend, args.threads)}
        names = ("DenseLGCN", "DenseLGCN for_inference", "DenseLGCN compiled", "DenseLGCN for_inference compiled")
        for mode in ("inference", "training"):
            for candidate in (candidates[name] for name in names if name in candidates):
                if mode not in candidate.modes:
                    continue
                call = call_of(candidate, case, mode)
                call()  # compiles
                needed = [step for _, step in steps_of(candidate, mode, net)]
                bound = sum(peaks.bound(step)[0] for step in needed)
                measured = time_calls(call, *effort)
                row: dict[str, Any] = {
                    "candidate": candidate.name,
                    "mode": mode,
                    **where,
                    **measured,
                    "bound_s": bound,
                }
                row |= {"operations": sum(step.operations for step in needed)}
                row |= {"bytes": sum(step.bytes for step in needed), "over_bound": measured["median_s"] / bound}
                results.append(row)
                print(
                    f"{landmarks:4} {images:4} {mode:10} {candidate.name:32} {1e3 * row['median_s']:9.3f} ms "
                    f"{1e3 * bound:7.3f} ms {row['over_bound']:8.2f}",
                    flush=True,
                )
        candidates["DenseLGCN"].module.eval()
        with torch.no_grad():
            for name, part in parts(candidates["DenseLGCN"], case).items():
                bound = sum(peaks.bound(step)[0] for step in step_names(name, net))
                measured = time_calls(part, *effort)
                row = {"part": name, **where, **measured, "bound_s": bound}
                part_rows.append({**row, "over_bound": measured["median_s"] / bound})
    settings = {key: value for key, value in vars(args).items() if key != "output"}
    measured_peaks = {
        "operations_per_s": peaks.operations_per_s,
        "bytes_per_s": [{"block_bytes": block, "bytes_per_s": rate} for block, rate in peaks.bytes_per_s.items()],
    }
    header: dict[str, Any] = {
        "benchmark": "roofline",
        "settings": settings,
        "environment": described,
        "others_share": others.share,
        "peaks": measured_peaks,
    }
    header["seconds"] = round(time.perf_counter() - started, 1)
    return {**header, "results": results, "steps": steps, "parts": part_rows, "left_out": []}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-K", "--landmarks", type=int, nargs="+", help="with -B, in pairs (default: 98 98 478)")
    parser.add_argument("-B", "--images", type=int, nargs="+", help="with -K, in pairs (default: 1 32 8)")
    parser.add_argument("--threads", type=int, default=2, help="default: 2")
    parser.add_argument("--repeats", type=int, default=15, help="timed calls at least (default: 15)")
    parser.add_argument("--seconds", type=float, default=1.0, help="timed seconds at least (default: 1)")
    parser.add_argument("--patience", type=float, default=30.0, help="seconds for one measurement (default: 30)")
    parser.add_argument("--side", type=int, default=SIDE, help=f"of the matrices multiplied (default: {SIDE})")
    parser.add_argument("--blocks", type=int, nargs="+", default=list(BLOCKS), help=f"bytes (default: {BLOCKS})")
    parser.add_argument("--seed", type=int, default=0, help="of weights and inputs (default: 0)")
    parser.add_argument("--backend", default="inductor", help="of torch.compile, 'none' to leave it out")
    parser.add_argument("--output", type=Path, default=Path("roofline.json"), help="default: roofline.json")
    args = parser.parse_args()
    if (args.landmarks is None) != (args.images is None) or len(args.landmarks or ()) != len(args.images or ()):
        parser.error("expected as many numbers of images as of landmarks")
    args.places = list(zip(args.landmarks, args.images, strict=True)) if args.landmarks else list(PLACES)
    torch.set_num_threads(args.threads)
    write_figures(args.output, measure(args))


if __name__ == "__main__":
    main()
