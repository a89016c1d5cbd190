"""How far the dense path is from what the machine allows: operations and bytes counted, peaks and times measured.

    python benchmarks/roofline.py [-K 98 478 ...] [-B 1 32 ...] [--quick | --full] [--output roofline.json]

A step can take no less than its operations at the rate of a large product of matrices, nor than its bytes at the
bandwidth of the memory that its operands fit into: the larger of the two is what the roofline allows it, and a forward
or backward pass is allowed the sum over its steps. Both are counted in :mod:`benchmarks.operations` and are least
values; the rate of a product, two operations an instruction in every lane, is one that sums and exponentials never
reach; and nothing is charged for calling an operation. **So the ratio measured / allowed is above 1, and 1 cannot be
had**: it says how much there could be to gain at most. A compiler that keeps the results of one step in registers for
the next can save bytes that are counted here.
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

# The checkout that holds this script is what is measured, whatever is installed.
if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.layer_candidates import CHANNELS, IN, Candidate, Case, networks
from benchmarks.layer_runtime import call_of
from benchmarks.measuring import Neighbours, environment, time_calls, write_figures
from benchmarks.operations import BYTES, Network, Step, backward, forward

PLACES = ((98, 1), (98, 32), (478, 8))
BLOCKS = (1 << 19, 1 << 23, 1 << 28)  # bytes: within the cores' own caches, within the shared one, beyond all
SIDE = 2048  # of the product that tells the rate of operations


class Peaks(NamedTuple):
    """What the machine can do."""

    operations_per_s: float
    bytes_per_s: dict[int, float]  # by the size of the block

    def bandwidth(self, size: int) -> float:
        """That of the largest measured block which is not larger: never too low for these bytes."""
        fitting = [block for block in self.bytes_per_s if block <= size]
        return self.bytes_per_s[max(fitting) if fitting else min(self.bytes_per_s)]

    def allowed(self, step: Step) -> tuple[float, str]:
        """Seconds that a step takes at least, and what limits it."""
        arithmetic = step.operations / self.operations_per_s
        traffic = step.bytes / self.bandwidth(step.bytes)
        return (arithmetic, "operations") if arithmetic >= traffic else (traffic, "bytes")


def measure_peaks(side: int = SIDE, blocks: tuple[int, ...] = BLOCKS, seconds: float = 0.5) -> Peaks:
    """Rates that this process reaches with its threads: the best of several calls.

    Operations: a product of two float32 matrices. Bandwidth: blocks of float32 read again and again by sums, from
    addresses that repeat, so that one call reads 256 MB whatever the block; from memory also copies and sums of two.
    """
    left, right = torch.rand(side, side), torch.rand(side, side)
    out = torch.empty(side, side)
    fastest = best(lambda: torch.mm(left, right, out=out), seconds)
    bandwidths: dict[int, float] = {}
    most = max(blocks)
    for block in sorted(blocks):
        threads = torch.get_num_threads()
        # Each thread has its part of the block, and reads it over and over.
        part = torch.rand(threads, 1, max(1, block // BYTES // threads))
        repeated = part.expand(-1, max(1, most // block), -1)
        sums = torch.empty(repeated.shape[:2])
        rate = repeated.numel() * BYTES / best(partial(torch.sum, repeated, 2, out=sums), seconds)
        if block == most:
            rate = max(rate, _streaming(part.flatten(), seconds))
        bandwidths[block] = rate
    return Peaks(2 * side**3 / fastest, bandwidths)


def _streaming(block: Tensor, seconds: float) -> float:
    """Bytes a second that copies and sums of whole blocks move."""
    other, to = torch.rand_like(block), torch.empty_like(block)
    copy = 2 * block.nbytes / best(lambda: to.copy_(block), seconds)
    return max(copy, 3 * block.nbytes / best(lambda: torch.add(block, other, out=to), seconds))


def best(call: Callable[[], object], seconds: float) -> float:
    """Shortest time of a call, three at least."""
    for _ in range(2):
        call()
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return min(times)


def steps_of(candidate: Candidate, mode: str, net: Network) -> list[tuple[str, Step]]:
    """What a candidate has to do, each step with its direction."""
    training = mode == "training"
    # Without gradients the table is kept, but for the compiled module that is not frozen.
    with_table = training or (candidate.is_compiled and "frozen" not in candidate.name)
    steps = [("forward", step) for step in forward(net, with_table, training)]
    return steps + ([("backward", step) for step in backward(net)] if training else [])


def parts(candidate: Candidate, case: Case) -> dict[str, Callable[[], object]]:
    """The eager path in three: the table, the edges from it, the layers."""
    lgcn = candidate.module
    connectivity: Any = lgcn.connectivity
    with torch.no_grad():
        weight: Tensor = connectivity.dense(case.confidence)

    def table() -> Tensor:
        with torch.enable_grad():  # where it is computed anew
            return connectivity.table()

    return {
        "table": table,
        "pair scores, softmax": lambda: connectivity.dense(case.confidence),
        "displacement, layers": lambda: lgcn(*case.dense, edge_weight=weight),
    }


def step_names(part: str, net: Network) -> list[Step]:
    """The forward steps that one of :func:`parts` is made of."""
    of = {"table": ["table"], "pair scores, softmax": ["pair scores", "softmax"]}
    named = of.get(part, ["displacement", *(f"layer {place + 1}" for place in range(len(net.channels)))])
    return [step for step in forward(net, table=True) if step.name in named]


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Runs everything."""
    described, neighbours, started = environment(), Neighbours(), time.perf_counter()
    peaks = measure_peaks(args.side, tuple(args.blocks), min(0.5, args.seconds))
    print(f"product of {args.side} x {args.side} matrices: {peaks.operations_per_s / 1e9:.1f} GFLOP/s")
    for block, rate in peaks.bytes_per_s.items():
        print(f"block of {block / 1e6:.2f} MB: {rate / 1e9:.1f} GB/s")
    print("   K    B mode       candidate                 measured    allowed    ratio")
    results: list[dict[str, Any]] = []
    steps: list[dict[str, Any]] = []
    of_parts: list[dict[str, Any]] = []
    effort = (args.repeats, args.seconds, args.patience)
    for landmarks, images in args.places:
        torch.manual_seed(args.seed)
        net, case = Network(landmarks, images, IN, CHANNELS), Case.draw(landmarks, images)
        where = {"landmarks": landmarks, "images": images}
        for direction, step in [("forward", s) for s in forward(net, True)] + [("backward", s) for s in backward(net)]:
            allowed, limit = peaks.allowed(step)
            counted = {"direction": direction, "step": step.name, "operations": step.operations, "bytes": step.bytes}
            steps.append({**where, **counted, "allowed_s": allowed, "limited_by": limit})
        candidates = {each.name: each for each in networks(landmarks, args.backend, args.threads)}
        names = ("LGCN dense", "LGCN dense frozen", "LGCN compiled", "LGCN frozen compiled")
        for mode in ("inference", "training"):
            for candidate in (candidates[name] for name in names if name in candidates):
                if mode not in candidate.modes:
                    continue
                call = call_of(candidate, case, mode)
                call()  # compiles
                needed = [step for _, step in steps_of(candidate, mode, net)]
                allowed = sum(peaks.allowed(step)[0] for step in needed)
                measured = time_calls(call, *effort)
                row: dict[str, Any] = {
                    "candidate": candidate.name,
                    "mode": mode,
                    **where,
                    **measured,
                    "allowed_s": allowed,
                }
                row |= {"operations": sum(step.operations for step in needed)}
                row |= {"bytes": sum(step.bytes for step in needed), "over_allowed": measured["median_s"] / allowed}
                results.append(row)
                print(
                    f"{landmarks:4} {images:4} {mode:10} {candidate.name:21} {1e3 * row['median_s']:9.3f} ms "
                    f"{1e3 * allowed:7.3f} ms {row['over_allowed']:8.2f}",
                    flush=True,
                )
        candidates["LGCN dense"].module.eval()
        with torch.no_grad():
            for name, part in parts(candidates["LGCN dense"], case).items():
                allowed = sum(peaks.allowed(step)[0] for step in step_names(name, net))
                measured = time_calls(part, *effort)
                row = {"part": name, **where, **measured, "allowed_s": allowed}
                of_parts.append({**row, "over_allowed": measured["median_s"] / allowed})
    settings = {key: value for key, value in vars(args).items() if key != "output"}
    measured_peaks = {
        "operations_per_s": peaks.operations_per_s,
        "bytes_per_s": [{"block_bytes": block, "bytes_per_s": rate} for block, rate in peaks.bytes_per_s.items()],
    }
    what: dict[str, Any] = {
        "benchmark": "roofline",
        "settings": settings,
        "environment": described,
        "others_share": neighbours.share,
        "peaks": measured_peaks,
    }
    what["seconds"] = round(time.perf_counter() - started, 1)
    return {**what, "results": results, "steps": steps, "parts": of_parts, "left_out": []}


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-K", "--landmarks", type=int, nargs="+", help="with -B, in pairs (default: 98 98 478)")
    parser.add_argument("-B", "--images", type=int, nargs="+", help="with -K, in pairs (default: 1 32 8)")
    parser.add_argument("--quick", action="store_true", help="fewer timed calls")
    parser.add_argument("--full", action="store_true", help="the default")
    parser.add_argument("--threads", type=int, default=2, help="default: 2")
    parser.add_argument("--repeats", type=int, default=15, help="timed calls at least (default: 15)")
    parser.add_argument("--seconds", type=float, help="timed seconds at least (default: 1, with --quick 0.3)")
    parser.add_argument("--patience", type=float, default=30.0, help="seconds for one figure (default: 30)")
    parser.add_argument("--side", type=int, default=SIDE, help=f"of the matrices multiplied (default: {SIDE})")
    parser.add_argument("--blocks", type=int, nargs="+", default=list(BLOCKS), help=f"bytes (default: {BLOCKS})")
    parser.add_argument("--seed", type=int, default=0, help="of weights and inputs (default: 0)")
    parser.add_argument("--backend", default="inductor", help="of torch.compile, 'none' to leave it out")
    parser.add_argument("--output", type=Path, default=Path("roofline.json"), help="default: roofline.json")
    args = parser.parse_args()
    if (args.landmarks is None) != (args.images is None) or len(args.landmarks or ()) != len(args.images or ()):
        parser.error("expected as many numbers of images as of landmarks")
    args.seconds = args.seconds if args.seconds is not None else (0.3 if args.quick else 1.0)
    args.places = list(zip(args.landmarks, args.images, strict=True)) if args.landmarks else list(PLACES)
    torch.set_num_threads(args.threads)
    write_figures(args.output, measure(args))


if __name__ == "__main__":
    main()
