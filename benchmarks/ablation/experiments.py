"""Experiments of the ablation, and the pool that runs them."""

import json
import multiprocessing
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.ablation.outputs import Extraction
from benchmarks.ablation.refiners import CAUSES, VARIANTS
from benchmarks.ablation.training import Run, Schedule, execute, is_done
from lgcn.typing import Size


@dataclass(frozen=True)
class Experiment:
    """One table.

    Args:
        title: of the table.
        start: decode whose landmarks are refined.
        regime: degradations of the training crops.
        variants: rows.
        comparisons: pairs of rows; the second is subtracted from the first.
    """

    title: str
    start: str
    regime: str
    variants: tuple[str, ...]
    comparisons: tuple[tuple[str, str], ...]

    def runs(self, seeds: Iterable[int]) -> list[Run]:
        """All runs of the table, seed by seed."""
        return [Run(variant, self.regime, self.start, seed) for seed in seeds for variant in self.variants]


_CLAIMS = (
    ("learnable", "adjacency_raw"),
    ("learnable", "adjacency"),
    ("learnable", "no_confidence"),
    ("learnable", "isolated"),
)
_FEW = ("isolated", "adjacency_raw", "adjacency", "no_confidence", "learnable")

EXPERIMENTS: dict[str, Experiment] = {
    "patches": Experiment(
        "Sub-pixel start, trained under patches over 0-50 % of the face",
        "softargmax",
        "patches",
        tuple(VARIANTS),
        (
            *_CLAIMS,
            ("learnable", "no_class"),
            ("learnable", "no_shape"),
            ("uniform", "isolated"),
            ("contours", "isolated"),
            ("nearest", "isolated"),
        ),
    ),
    "clean": Experiment("Sub-pixel start, trained on clean crops", "softargmax", "clean", tuple(VARIANTS), _CLAIMS),
    "argmax-clean": Experiment(
        "Integer argmax start, trained on clean crops (as in the paper)", "argmax", "clean", _FEW, _CLAIMS
    ),
    "argmax-patches": Experiment("Integer argmax start, trained under patches", "argmax", "patches", _FEW, _CLAIMS),
    "causes": Experiment(
        "Causes: sub-pixel start, trained under patches",
        "softargmax",
        "patches",
        tuple(CAUSES),
        (
            ("gated_uniform", "uniform"),
            ("gated_adjacency", "adjacency"),
            ("gated_learnable", "learnable"),
            ("faster", "learnable"),
            ("shuffled", "learnable"),
            ("oracle", "learnable"),
            ("raw_learnable", "learnable"),
            ("raw_learnable", "adjacency_raw"),
            ("raw_gated", "adjacency_raw"),
            ("raw_gated_own", "adjacency_raw"),
            ("raw_gated_own", "isolated"),
            ("raw_gated_oracle", "raw_gated_own"),
            ("self_scored", "learnable"),
            ("self_scored", "self_adjacency"),
            ("self_node_confidence", "node_confidence_learnable"),
            ("self_node_confidence", "node_confidence_isolated"),
            ("node_confidence_adjacency", "adjacency"),
            ("node_confidence_learnable", "node_confidence_adjacency"),
            ("node_confidence_learnable", "node_confidence_isolated"),
            ("untyped_learnable", "untyped_adjacency"),
            ("untyped_learnable", "untyped_isolated"),
        ),
    ),
    "mixed": Experiment(
        "Sub-pixel start, trained under mixed degradations",
        "softargmax",
        "mixed",
        (*_FEW, "gated_adjacency"),
        (*_CLAIMS, ("gated_adjacency", "adjacency")),
    ),
}
"""Name -> table, in the order of the page."""


def run_all(runs: list[Run], schedule: Schedule, settings: Extraction, input_size: Size, work: Path, jobs: int) -> None:
    """Trains the missing runs, ``jobs`` refiners at a time, each on one thread."""
    left = [run for run in dict.fromkeys(runs) if not is_done(run, schedule, settings, work)]
    with tqdm(total=len(left), desc="refiners", unit="run", disable=None) as bar:
        if jobs == 1:
            for run in left:
                execute(run, schedule, settings, input_size, work)
                bar.update()
            return
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=torch.set_num_threads, initargs=(1,))
        try:
            pending = [pool.submit(execute, run, schedule, settings, input_size, work) for run in left]
            for done in as_completed(pending):
                done.result()
                bar.update()
        finally:
            # When interrupted, runs that have not begun are cancelled.
            pool.shutdown(cancel_futures=True)


def finished(runs: list[Run], schedule: Schedule, settings: Extraction, work: Path) -> dict[Run, dict[str, Any]]:
    """Results of all finished runs."""
    return {
        run: json.loads((work / "runs" / f"{run.name}.json").read_text(encoding="utf-8"))
        for run in runs
        if is_done(run, schedule, settings, work)
    }
