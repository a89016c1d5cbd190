"""Runtime and memory of the graph layers, against eq. 4-6 as written and against other layers on the same graphs.

    python benchmarks/layer_runtime.py [-K 98 ...] [-B 1 32 ...] [--quick | --full] [--output layer_runtime.json]

Prints a table and writes JSON; what the figures mean stands in ``benchmarks/README.md``. The exit status is 1 where
a candidate that computes eq. 4-6 disagrees with the literal transcription, which is checked for every figure.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator
from itertools import chain, groupby, zip_longest
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor

# The checkout that holds this script is what is measured, whatever is installed.
if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.engines import UnavailableError, graphs_compiled, switch_torch_scatter
from benchmarks.goals import LAYER_COMPILED, LAYER_EAGER, NETWORK_COMPILED
from benchmarks.layer_candidates import CHANNELS, IN, MODES, Candidate, Case, layers, networks
from benchmarks.measuring import (
    SLOW,
    WARM_UP,
    Neighbours,
    available_bytes,
    call_and_peak_bytes,
    environment,
    in_a_process,
    peak_bytes,
    time_calls,
    write_figures,
)
from lgcn.graph import complete_edge_index

FULL_LANDMARKS, FULL_IMAGES = (17, 68, 98, 194, 478), (1, 8, 32, 128)
PLACE = ("group", "candidate", "mode", "landmarks", "images")  # what a figure is of
RATIOS = ("literal_over_this", "this_over_dense_lgcn_conv")
TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-10}  # relative to the largest value where that is above 1
MOST_NUMBERS = 4e9  # on all edges together: takes about 20 s and 16 GB
MOST_NUMBERS_FULL = 1.5e9  # of all but the literal version, where the whole grid is run
MOST_LANDMARKS_TWICE = 98  # in double precision too
MANY_NUMBERS = 2e8  # on all edges: what is slow and has to be called as few times as can be
# Single images of the K with goals: the shortest calls, which differ most between processes.
NOISY = (98, 1)
PROCESSES = 5


class Cell(NamedTuple):
    """One place of the grid, and what is measured there."""

    landmarks: int
    images: int
    group: str
    modes: tuple[str, ...] = MODES
    names: tuple[str, ...] | None = None  # all where None


def grid(landmarks: list[int], images: list[int]) -> list[Cell]:
    """Everything at every place."""
    return [Cell(k, b, group) for k in landmarks for b in images for group in ("network", "layer")]


def quick_grid() -> list[Cell]:
    """What the table of goals in ``docs/benchmarks.md`` is made of."""
    attention = (*LAYER_EAGER, "MultiheadAttention", "GATv2Conv", "TransformerConv", *LAYER_COMPILED)
    attention += ("MultiheadAttention compiled", "TransformerConv compiled")
    compiled = (*NETWORK_COMPILED, "ONNX Runtime")
    fast = ("literal", "LGCN dense", "LGCN dense frozen", *compiled)
    return [
        Cell(98, 1, "network", ("inference",), fast),
        Cell(98, 1, "layer", MODES, attention),
        Cell(98, 32, "network"),
        Cell(98, 32, "layer", MODES, attention),
        Cell(478, 8, "network", MODES, tuple(name for name in fast if name != "LGCN dense frozen")),
    ]


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
    return torch.linspace(-1, 1, out.shape[-1], dtype=out.dtype).expand_as(out)


class Judge:
    """Holds candidates to the literal version: outputs and feature gradients of the first and the last image."""

    def __init__(self, case: Case, mode: str) -> None:
        self.case, self.mode = case, mode
        self._expected: dict[int, list[list[Tensor]]] = {}

    def __call__(self, candidate: Candidate, result: tuple[Tensor, ...]) -> dict[str, Any]:
        assert candidate.reference is not None
        key = id(candidate.reference)
        if key not in self._expected:
            self._expected[key] = [self._literal(candidate, image) for image in self._looked_at]
        worst, relative, agrees = 0.0, 0.0, True
        for image, expected in zip(self._looked_at, self._expected[key], strict=True):
            for mine, right in zip(result, expected, strict=False):
                difference = float((mine[image] - right).abs().max())
                worst = max(worst, difference)
                share = difference / max(1.0, float(right.abs().max()))
                relative = max(relative, share)
                agrees &= share <= TOLERANCES[right.dtype]  # False where it is NaN
        return {"max_abs_difference": worst, "max_relative_difference": relative, "agrees": agrees}

    @property
    def _looked_at(self) -> list[int]:
        return sorted({0, self.case.x.shape[0] - 1})

    def _literal(self, candidate: Candidate, image: int) -> list[Tensor]:
        assert candidate.reference is not None
        landmarks = self.case.x.shape[1]
        x = self.case.x[image].detach().requires_grad_()
        one = (self.case.pos[image], self.case.confidence[image], complete_edge_index(landmarks))
        with torch.set_grad_enabled(self.mode == "training"):
            out = candidate.reference(x, *one, torch.arange(landmarks))
        gradients = torch.autograd.grad(out, x, grad_outputs=slope(out)) if self.mode == "training" else ()
        return [out.detach(), *gradients]


def figure(candidate: Candidate, case: Case, mode: str, args: argparse.Namespace, judge: Judge) -> dict[str, Any]:
    """All that is measured of one candidate.

    Raises:
        UnavailableError: if it cannot run here.
    """
    call = call_of(candidate, case, mode)
    row: dict[str, Any] = {}
    graphs, started = graphs_compiled() if candidate.is_compiled else 0, time.perf_counter()
    # What is slow weighs its memory in the call that warms it up.
    numbers = candidate.numbers_per_edge * case.edge_index.shape[1]
    result, peak = call_and_peak_bytes(call) if numbers > MANY_NUMBERS else (call(), None)
    first = time.perf_counter() - started
    if candidate.is_compiled:
        row |= {"graphs_compiled": graphs_compiled() - graphs, "first_call_s": first}
    if candidate.reference is not None:
        row |= judge(candidate, result)
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


def excess(candidate: Candidate, case: Case, full: bool) -> str | None:
    """Why a candidate is not run on so many edges, None where it is."""
    numbers = candidate.numbers_per_edge * case.edge_index.shape[1]
    if numbers > min(MOST_NUMBERS, 0.8 * available_bytes() / 4):
        return f"about {4 * numbers / 1e9:.0f} GB on the edges"
    if numbers > candidate.most_numbers:
        return f"about {4 * numbers / 1e9:.1f} GB on the edges, and shown at smaller sizes"
    if full and candidate.name != "literal" and numbers > MOST_NUMBERS_FULL:
        return f"about {4 * numbers / 1e9:.0f} GB on the edges; --full has to end"
    return None


def agreement(landmarks: int, seed: int) -> Iterator[dict[str, Any]]:
    """How far the eager forms are from the literal one in double precision, two images."""
    torch.manual_seed(seed)
    candidates = [each for each in networks(landmarks, dtype=torch.float64) if each.resident_peak is None]
    case = Case.draw(landmarks, 2, torch.float64)
    for mode in MODES:
        judge = Judge(case, mode)
        for candidate in candidates:
            if mode in candidate.modes and "scatter" not in candidate.name:
                found = judge(candidate, call_of(candidate, case, mode)())
                row = {"candidate": candidate.name, "mode": mode, "landmarks": landmarks, "images": 2}
                yield {**row, "dtype": "float64", **found}


def growth(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How the median time grows with K: the slope of a line through log time over log K, by least squares.

    ``exponent`` is that of all K that were measured at one B, three at least; ``exponent_at_the_end`` that between
    the two largest, where what every call costs whatever its size weighs least.
    """
    fitted = []
    for (group, candidate, mode, images), rows in _by(results, "group", "candidate", "mode", "images"):
        points = sorted((row["landmarks"], row["median_s"]) for row in rows)
        if len(points) < 3:
            continue
        of = {"group": group, "candidate": candidate, "mode": mode, "images": images}
        slopes = {"exponent": exponent(points), "exponent_at_the_end": exponent(points[-2:])}
        fitted.append({**of, "landmarks": [k for k, _ in points], **slopes})
    return fitted


def exponent(points: list[tuple[int, float]]) -> float:
    """Least squares slope of log y over log x."""
    logs = [(math.log(x), math.log(y)) for x, y in points]
    mean_x, mean_y = (sum(each) / len(logs) for each in zip(*logs, strict=True))
    return sum((x - mean_x) * (y - mean_y) for x, y in logs) / sum((x - mean_x) ** 2 for x, _ in logs)


def over_processes(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of figures, of what was measured in several processes one row each.

    It is that of the middle median, with the middle one of the ratios, each of which is of one process, and the largest
    difference; ``medians_s`` has all medians.
    """
    merged = []
    for _, of_all in _by(rows, *PLACE):
        ordered = sorted(of_all, key=lambda row: row["median_s"])
        row = dict(ordered[(len(ordered) - 1) // 2])
        for key in RATIOS:
            if key in row:
                row[key] = median(each[key] for each in of_all)
        for key in ("max_abs_difference", "max_relative_difference"):
            if key in row:
                row[key] = max(each[key] for each in of_all)
        if "agrees" in row:
            row["agrees"] = all(each["agrees"] for each in of_all)
        if len(of_all) > 1:
            row["medians_s"] = [each["median_s"] for each in of_all]
        merged.append(row)
    return sorted(merged, key=lambda row: (row["landmarks"], row["images"]))


def _by(rows: list[dict[str, Any]], *keys: str) -> list[tuple[tuple[Any, ...], list[dict[str, Any]]]]:
    """Rows that have the same values under these keys, in the order of their first."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return list(groups.items())


def measure(args: argparse.Namespace, cells: list[Cell]) -> dict[str, Any]:
    """Runs everything, and writes what there is after each place, so that a run that is killed leaves that behind.

    Each K has a process of its own: none finds the heap, and the compiled graphs, that another has left. What is noisy
    has several, spread over the run.
    """
    noisy = [cell for cell in cells if cell[:2] == NOISY]
    quiet = groupby((cell for cell in cells if cell[:2] != NOISY), lambda cell: cell.landmarks)
    turns = zip_longest((list(of_landmarks) for _, of_landmarks in quiet), [noisy] * args.processes, fillvalue=[])
    found: dict[str, list[dict[str, Any]]] = {"results": [], "left_out": [], "agreement": []}
    described, neighbours, started = environment(), Neighbours(), time.perf_counter()

    def figures(complete: bool) -> dict[str, Any]:
        settings = {key: value for key, value in vars(args).items() if key != "output"}
        results = over_processes(found["results"])
        return {
            "benchmark": "layer_runtime",
            "complete": complete,
            "settings": settings,
            "network": {"in_channels": IN, "channels": CHANNELS, "dtype": "float32", "device": "cpu"},
            "environment": described,
            # What a process has taken is known when it has ended.
            "others_share": neighbours.share if complete else None,
            "seconds": round(time.perf_counter() - started, 1),
            **found,
            "results": results,
            "growth": growth(results),
        }

    print("group       K    B mode       candidate                          median    IQR/ms        MB    ratio")
    for of_process in filter(None, chain.from_iterable(turns)):
        for rows in in_a_process(rows_of, args, of_process):
            for key, row in rows:
                if key == "results":
                    print(line(row), flush=True)
                if key == "results" or row not in found[key]:
                    found[key].append(row)
            write_figures(args.output, figures(complete=False))
    for landmarks in args.landmarks:
        if landmarks <= MOST_LANDMARKS_TWICE:
            found["agreement"] += in_a_process(agreement, landmarks, args.seed)
    for row in found["agreement"]:
        if not row["agrees"]:
            print(f"{row['candidate']} DISAGREES in {row['dtype']}: {row['max_abs_difference']:.1e}")
    measured = figures(complete=True)
    write_figures(args.output, measured)
    return measured


def rows_of(args: argparse.Namespace, cells: list[Cell]) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """What one process finds, at one K and place by place: rows, and the lists that they belong to."""
    torch.set_num_threads(args.threads)
    switch_torch_scatter(False)
    torch.manual_seed(args.seed)
    landmarks = cells[0].landmarks
    groups = {
        "network": list(networks(landmarks, args.backend, args.threads)),
        "layer": list(layers(landmarks, args.backend)),
    }
    for cell, mode in [(each, mode) for each in cells for mode in each.modes]:
        torch.manual_seed(args.seed)
        case = Case.draw(landmarks, cell.images)
        judge = Judge(case, mode)
        baseline: float | None = None  # the first candidate's median, None where it is left out
        rows: list[tuple[str, dict[str, Any]]] = []
        for place, candidate in enumerate(groups[cell.group]):
            if mode not in candidate.modes or (cell.names is not None and candidate.name not in cell.names):
                continue
            row: dict[str, Any] = {"group": cell.group, "candidate": candidate.name, "mode": mode}
            row |= {"landmarks": landmarks, "images": cell.images}
            why = excess(candidate, case, args.full)
            try:
                if why is None:
                    row |= figure(candidate, case, mode, args, judge)
            except UnavailableError as error:
                why = str(error)
            if why is not None:
                rows.append(("left_out", {**row, "why": why}))
                continue
            if place == 0:
                baseline = row["median_s"]
            if baseline is not None:
                key = "literal_over_this" if cell.group == "network" else "this_over_dense_lgcn_conv"
                row[key] = baseline / row["median_s"] if cell.group == "network" else row["median_s"] / baseline
            rows.append(("results", row))
        yield rows


def line(row: dict[str, Any]) -> str:
    """One line of the table."""
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
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-K", "--landmarks", type=int, nargs="+", default=[98], help="default: 98")
    parser.add_argument("-B", "--images", type=int, nargs="+", default=[1, 32], help="default: 1 32")
    preset = parser.add_mutually_exclusive_group()
    preset.add_argument("--quick", action="store_true", help="only what the table of goals is made of")
    preset.add_argument("--full", action="store_true", help=f"K in {FULL_LANDMARKS} and B in {FULL_IMAGES}")
    parser.add_argument("--threads", type=int, default=2, help="default: 2")
    parser.add_argument("--repeats", type=int, help="timed calls at least (default: 15, with --quick or --full 7)")
    parser.add_argument("--seconds", type=float, help="timed seconds at least (default: 1, with --quick or --full 0.3)")
    parser.add_argument("--warm-up", type=float, default=1.0, help="seconds of it at least (default: 1)")
    where = f"for K = {NOISY[0]}, B = {NOISY[1]} (default: {PROCESSES})"
    parser.add_argument("--processes", type=int, default=PROCESSES, help=where)
    parser.add_argument("--patience", type=float, help="seconds for one figure (default: 60, with --full 15)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and inputs (default: 0)")
    parser.add_argument("--backend", default="inductor", help="of torch.compile, 'none' to leave it out")
    parser.add_argument("--output", type=Path, default=Path("layer_runtime.json"), help="default: layer_runtime.json")
    args = parser.parse_args()
    hurry = args.quick or args.full
    args.repeats = args.repeats if args.repeats is not None else (7 if hurry else 15)
    args.seconds = args.seconds if args.seconds is not None else (0.3 if hurry else 1.0)
    args.patience = args.patience if args.patience is not None else (15.0 if args.full else 60.0)
    if args.full:
        args.landmarks, args.images = list(FULL_LANDMARKS), list(FULL_IMAGES)
    cells = quick_grid() if args.quick else grid(args.landmarks, args.images)
    args.landmarks, args.images = (sorted(set(each)) for each in zip(*(cell[:2] for cell in cells), strict=True))
    torch.set_num_threads(args.threads)  # what is said of this process holds for those that measure
    measured = measure(args, cells)
    return int(not all(row.get("agrees", True) for row in (*measured["results"], *measured["agreement"])))


if __name__ == "__main__":
    sys.exit(main())
