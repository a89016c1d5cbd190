"""Runtime and memory of the graph layers, against eq. 4-6 as written and against other layers on the same graphs.

    python benchmarks/layer_runtime.py --targets                   # what the targets need, under ten minutes
    python benchmarks/layer_runtime.py --full                      # K = 17 ... 478, B = 1 ... 128, about an hour
    python benchmarks/layer_runtime.py -K 68 -B 8 --backend none   # any other size

Prints a table and writes JSON; ``benchmarks/README.md`` defines the quantities. The exit status is 1 if a candidate
that computes eq. 4-6 disagrees with the literal transcription, which is checked for every row.
"""

import argparse
import math
import sys
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch

# Measure the checkout that holds this script, whatever is installed.
if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.agreement import LiteralCheck, agreement_in_float64, call_of
from benchmarks.backends import UnavailableError, graphs_compiled, switch_torch_scatter
from benchmarks.gaussian_candidates import gaussian_candidates
from benchmarks.layer_candidates import CHANNELS, IN, MODES, Candidate, Case, layers, networks
from benchmarks.measuring import (
    SLOW,
    WARM_UP,
    OtherProcesses,
    available_bytes,
    call_and_peak_bytes,
    environment,
    in_a_process,
    peak_bytes,
    time_calls,
    write_figures,
)
from benchmarks.targets import COMPILED, GAUSSIAN

FULL_LANDMARKS, FULL_IMAGES = (17, 68, 98, 194, 478), (1, 8, 32, 128)
MOST_NUMBERS = 4e9
"""Numbers on all edges together: about 20 s and 16 GB."""
MOST_NUMBERS_FULL = 1.5e9
"""The same for all candidates but the literal one, with ``--full``."""
MANY_NUMBERS = 2e8
"""Numbers on all edges from which a candidate is slow and called as few times as possible."""
MOST_LANDMARKS_FLOAT64 = 98


class Cell(NamedTuple):
    """One size, and what is measured there."""

    landmarks: int
    images: int
    group: str
    modes: tuple[str, ...] = MODES
    names: tuple[str, ...] | None = None
    """Candidates; all if None."""


def grid(landmarks: list[int], images: list[int]) -> list[Cell]:
    """Every candidate at every size."""
    return [Cell(k, b, group) for k in landmarks for b in images for group in ("network", "layer")]


def target_grid() -> list[Cell]:
    """What :func:`benchmarks.targets.compare_with_targets` reads, and the other forms of the same network."""
    eager, inference = ("literal", "LGCN", "DenseLGCN", "DenseLGCN for_inference"), ("inference",)
    return [
        Cell(98, 1, "network", inference, (*eager, *COMPILED, *GAUSSIAN)),
        Cell(98, 32, "network", MODES, (*eager, *COMPILED, *GAUSSIAN)),
        Cell(478, 8, "network", MODES, ("literal", "DenseLGCN", *COMPILED, *GAUSSIAN)),
    ]


def measure_one(
    candidate: Candidate, case: Case, mode: str, args: argparse.Namespace, check: LiteralCheck
) -> dict[str, Any]:
    """All that is measured of one candidate.

    Raises:
        UnavailableError: if it cannot run here.
    """
    call = call_of(candidate, case, mode)
    row: dict[str, Any] = {}
    graphs, started = graphs_compiled() if candidate.is_compiled else 0, time.perf_counter()
    # The memory of a slow candidate is measured in the call that warms it up.
    numbers = candidate.numbers_per_edge * case.edge_index.shape[1]
    result, peak = call_and_peak_bytes(call) if numbers > MANY_NUMBERS else (call(), None)
    first = time.perf_counter() - started
    if candidate.is_compiled:
        row |= {"graphs_compiled": graphs_compiled() - graphs, "first_call_s": first}
    if candidate.reference is not None:
        row |= check(candidate, result)
    del result
    slow = first > SLOW and not candidate.is_compiled
    repeats, warm_up = (min(3, args.repeats), 0) if slow else (args.repeats, WARM_UP)
    row |= time_calls(call, repeats, 0.0 if slow else args.seconds, args.patience, warm_up, args.warm_up)
    if candidate.resident_peak is not None:
        return {**row, "resident_peak_bytes": candidate.resident_peak(case)}
    row["peak_bytes"] = peak_bytes(call) if peak is None else peak
    if mode == "inference":
        row["kept_bytes"] = candidate.kept_bytes
    return row


def reason_to_skip(candidate: Candidate, case: Case, full: bool) -> str | None:
    """Why a candidate is not run on so many edges; None if it is."""
    numbers = candidate.numbers_per_edge * case.edge_index.shape[1]
    if numbers > min(MOST_NUMBERS, 0.8 * available_bytes() / 4):
        return f"about {4 * numbers / 1e9:.0f} GB on the edges"
    if numbers > candidate.most_numbers:
        return f"about {4 * numbers / 1e9:.1f} GB on the edges, and shown at smaller sizes"
    if full and candidate.name != "literal" and numbers > MOST_NUMBERS_FULL:
        return f"about {4 * numbers / 1e9:.0f} GB on the edges; --full has to end"
    return None


def growth(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Growth of the median time with K: least-squares slope of log time over log K.

    ``exponent`` is fitted to all K measured at one B, three at least; ``exponent_at_the_end`` to the two largest, where
    operator overhead weighs least.
    """
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    keys = ("group", "candidate", "mode", "images")
    for row in results:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    fitted = []
    for values, rows in groups.items():
        points = sorted((row["landmarks"], row["median_s"]) for row in rows)
        if len(points) < 3:
            continue
        slopes = {"exponent": exponent(points), "exponent_at_the_end": exponent(points[-2:])}
        fitted.append({**dict(zip(keys, values, strict=True)), "landmarks": [k for k, _ in points], **slopes})
    return fitted


def exponent(points: list[tuple[int, float]]) -> float:
    """Least-squares slope of log y over log x."""
    logs = [(math.log(x), math.log(y)) for x, y in points]
    mean_x, mean_y = (sum(each) / len(logs) for each in zip(*logs, strict=True))
    return sum((x - mean_x) * (y - mean_y) for x, y in logs) / sum((x - mean_x) ** 2 for x, _ in logs)


def measure(args: argparse.Namespace, cells: list[Cell]) -> dict[str, Any]:
    """Run everything, and write the file after each size, so a stopped run keeps its results.

    Each K runs in a separate process: no size is affected by the heap, or the compiled graphs, of another.
    """
    found: dict[str, list[dict[str, Any]]] = {"results": [], "left_out": [], "agreement": []}
    described, others, started = environment(), OtherProcesses(), time.perf_counter()

    def figures(complete: bool) -> dict[str, Any]:
        return {
            "benchmark": "layer_runtime",
            "complete": complete,
            "settings": {key: value for key, value in vars(args).items() if key != "output"},
            "network": {"in_channels": IN, "channels": CHANNELS, "dtype": "float32", "device": "cpu"},
            "environment": described,
            # The CPU time of a child process is known when it has ended.
            "others_share": others.share if complete else None,
            "seconds": round(time.perf_counter() - started, 1),
            **found,
            "growth": growth(found["results"]),
        }

    print("group       K    B mode       candidate                          median    IQR/ms        MB    ratio")
    for _, of_landmarks in groupby(cells, lambda cell: cell.landmarks):
        for rows in in_a_process(rows_of, args, list(of_landmarks)):
            for key, row in rows:
                found[key].append(row)
                if key == "results":
                    print(line(row), flush=True)
            write_figures(args.output, figures(complete=False))
    for landmarks in args.landmarks:
        if landmarks <= MOST_LANDMARKS_FLOAT64:
            found["agreement"] += in_a_process(agreement_in_float64, landmarks, args.seed)
    for row in found["agreement"]:
        if not row["agrees"]:
            print(f"{row['candidate']} DISAGREES in {row['dtype']}: {row['max_abs_difference']:.1e}")
    measured = figures(complete=True)
    write_figures(args.output, measured)
    return measured


def rows_of(args: argparse.Namespace, cells: list[Cell]) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Rows that one process finds at one K, size by size, each with the list that it belongs to."""
    torch.set_num_threads(args.threads)
    switch_torch_scatter(False)
    torch.manual_seed(args.seed)
    landmarks = cells[0].landmarks
    groups = {
        "network": [
            *networks(landmarks, args.backend, args.threads),
            *gaussian_candidates(landmarks, args.backend),
        ],
        "layer": list(layers(landmarks, args.backend)),
    }
    for cell, mode in [(each, mode) for each in cells for mode in each.modes]:
        torch.manual_seed(args.seed)
        case = Case.draw(landmarks, cell.images)
        check = LiteralCheck(case, mode)
        baseline: float | None = None  # median of the first candidate; None if it is left out
        rows: list[tuple[str, dict[str, Any]]] = []
        for place, candidate in enumerate(groups[cell.group]):
            if mode not in candidate.modes or (cell.names is not None and candidate.name not in cell.names):
                continue
            row: dict[str, Any] = {"group": cell.group, "candidate": candidate.name, "mode": mode}
            row |= {"landmarks": landmarks, "images": cell.images}
            reason = reason_to_skip(candidate, case, args.full)
            try:
                if reason is None:
                    row |= measure_one(candidate, case, mode, args, check)
            except UnavailableError as error:
                reason = str(error)
            if reason is not None:
                rows.append(("left_out", {**row, "reason": reason}))
                continue
            if place == 0:
                baseline = row["median_s"]
            if baseline is not None:
                key = "literal_over_this" if cell.group == "network" else "this_over_dense_lgcn_conv"
                row[key] = baseline / row["median_s"] if cell.group == "network" else row["median_s"] / baseline
            rows.append(("results", row))
        yield rows


def line(row: dict[str, Any]) -> str:
    """One line of the printed table."""
    low, high = row["quartiles_s"]
    ratio = row.get("literal_over_this", row.get("this_over_dense_lgcn_conv"))
    held = row.get("peak_bytes", row.get("resident_peak_bytes"))
    memory = f"{'-':>9}" if held is None else f"{held / 1e6:9.2f}"
    return (
        f"{row['group']:8} {row['landmarks']:4} {row['images']:4} {row['mode']:10} {row['candidate']:31} "
        f"{1e3 * row['median_s']:8.3f} ms {1e3 * (high - low):6.3f} {memory} "
        f"{'-' if ratio is None else f'{ratio:.2f}':>8}" + ("" if row.get("agrees", True) else "  DISAGREES")
    )


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-K", "--landmarks", type=int, nargs="+", default=[98], help="default: 98")
    parser.add_argument("-B", "--images", type=int, nargs="+", default=[1, 32], help="default: 1 32")
    preset = parser.add_mutually_exclusive_group()
    preset.add_argument("--targets", action="store_true", help="only what the targets need")
    preset.add_argument("--full", action="store_true", help=f"K in {FULL_LANDMARKS} and B in {FULL_IMAGES}")
    parser.add_argument("--threads", type=int, default=2, help="default: 2")
    parser.add_argument("--repeats", type=int, help="timed calls at least (default: 15, with --full 7)")
    parser.add_argument("--seconds", type=float, help="timed seconds at least (default: 1, with --full 0.3)")
    parser.add_argument("--warm-up", type=float, default=1.0, help="seconds of it at least (default: 1)")
    parser.add_argument("--patience", type=float, help="seconds for one measurement (default: 60, with --full 15)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and inputs (default: 0)")
    parser.add_argument("--backend", default="inductor", help="of torch.compile, 'none' to leave it out")
    parser.add_argument("--output", type=Path, default=Path("layer_runtime.json"), help="default: layer_runtime.json")
    args = parser.parse_args()
    args.repeats = args.repeats if args.repeats is not None else (7 if args.full else 15)
    args.seconds = args.seconds if args.seconds is not None else (0.3 if args.full else 1.0)
    args.patience = args.patience if args.patience is not None else (15.0 if args.full else 60.0)
    if args.full:
        args.landmarks, args.images = list(FULL_LANDMARKS), list(FULL_IMAGES)
    cells = target_grid() if args.targets else grid(args.landmarks, args.images)
    args.landmarks, args.images = (sorted(set(each)) for each in zip(*(cell[:2] for cell in cells), strict=True))
    torch.set_num_threads(args.threads)  # so that `environment` describes the processes that measure
    measured = measure(args, cells)
    return int(not all(row.get("agrees", True) for row in (*measured["results"], *measured["agreement"])))


if __name__ == "__main__":
    sys.exit(main())
