"""Targets for the layers, and their comparison with measurements."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

Row = dict[str, Any]
Figures = dict[str, dict[str, Any]]
"""Name of a result file -> its content."""

EAGER = ("DenseLGCN", "DenseLGCN for_inference")
COMPILED = ("DenseLGCN compiled", "DenseLGCN for_inference compiled", "DenseLGCN AOTInductor")

GAUSSIAN = ("DenseFactorAnalysisConv", "DenseFactorAnalysisConv compiled")


class Target(NamedTuple):
    """A target and the measurement that is compared with it."""

    title: str
    target: float
    measured: float | None
    """None if it was not measured."""
    candidate: str
    """Candidate that reached the figure."""
    show: Callable[[float], str]
    at_least: bool = True
    """Whether larger is better."""

    @property
    def verdict(self) -> str:
        """Whether the target is reached."""
        if self.measured is None:
            return "not measured"
        reached = self.measured >= self.target if self.at_least else self.measured <= self.target
        return "reached" if reached else "**missed**"


def times(value: float) -> str:
    """A ratio, such as 12.3x."""
    return f"{value:.0f}x" if value >= 100 else f"{value:.3g}x"


def fraction(value: float) -> str:
    """A ratio of 10 as 1/10."""
    return f"1/{value:.0f}"


def percent(value: float) -> str:
    """A fraction as a percentage."""
    return f"{100 * value:.2g} %"


def scientific(value: float) -> str:
    """A small number, such as 1.2e-06."""
    return f"{value:.0e}" if value in (1e-5, 1e-10) else f"{value:.1e}"


def find(rows: Iterable[Row], **values: object) -> list[Row]:
    """Rows that have these values."""
    return [row for row in rows if all(row.get(key) == value for key, value in values.items())]


def compare_with_targets(runtime: dict[str, Any]) -> list[Target]:
    """All targets, from the content of a result file of ``layer_runtime.py``."""
    rows = find(runtime.get("results", ()), group="network")
    # A backend such as "eager" compiles nothing.
    compiled = COMPILED if runtime.get("settings", {}).get("backend") == "inductor" else ()

    def speedup(title: str, mode: str, landmarks: int, images: int, candidates: Iterable[str], target: float) -> Target:
        found = [
            row
            for row in find(rows, mode=mode, landmarks=landmarks, images=images)
            if row["candidate"] in candidates and "literal_over_this" in row
        ]
        title = f"{title}, K = {landmarks}, B = {images}"
        best = max(found, key=lambda row: row["literal_over_this"], default=None)
        if best is None:
            return Target(title, target, None, "", times)
        return Target(title, target, best["literal_over_this"], best["candidate"], times)

    def against_paper(mode: str, landmarks: int, images: int, target: float) -> Target:
        at = find(rows, mode=mode, landmarks=landmarks, images=images)
        ours = [row for row in at if row["candidate"] in (*EAGER, *compiled)]
        found = [row for row in at if row["candidate"] == GAUSSIAN[0] or (compiled and row["candidate"] == GAUSSIAN[1])]
        title = f"eq. 4-6 / Gaussian layer, {mode}, K = {landmarks}, B = {images}"
        if not ours or not found:
            return Target(title, target, None, "", times)
        fastest = min(found, key=lambda row: row["median_s"])
        paper = min(row["median_s"] for row in ours)
        return Target(title, target, paper / fastest["median_s"], fastest["candidate"], times)

    return [
        speedup("literal / eager, inference", "inference", 98, 1, EAGER, 15),
        speedup("literal / eager, inference", "inference", 98, 32, EAGER, 60),
        speedup("literal / compiled, inference", "inference", 98, 1, compiled, 25),
        speedup("literal / compiled, inference", "inference", 98, 32, compiled, 110),
        speedup("literal / compiled, forward + backward", "training", 98, 32, compiled, 40),
        speedup("literal / compiled, inference", "inference", 478, 8, compiled, 300),
        speedup("literal / compiled, forward + backward", "training", 478, 8, compiled, 80),
        against_paper("inference", 98, 1, 1),
        against_paper("inference", 98, 32, 1),
        against_paper("training", 98, 32, 1),
        against_paper("inference", 478, 8, 5),
        against_paper("training", 478, 8, 5),
        _memory(find(rows, mode="inference", landmarks=98, images=32)),
        _agreement("float32", 1e-5, runtime.get("results", ())),
        _agreement("float64", 1e-10, runtime.get("agreement", ())),
    ]


def held_bytes(row: Row) -> int:
    """Peak memory of a call plus what is kept between calls."""
    return int(row["peak_bytes"] + row.get("kept_bytes", 0))


def _memory(rows: list[Row]) -> Target:
    title = "memory of inference against literal, K = 98, B = 32"
    held = {row["candidate"]: held_bytes(row) for row in rows if "peak_bytes" in row}
    best = min((name for name in EAGER if name in held), key=held.__getitem__, default="")
    if "literal" not in held or not best:
        return Target(title, 50, None, "", fraction)
    return Target(title, 50, held["literal"] / held[best], best, fraction)


def _agreement(dtype: str, tolerance: float, rows: Iterable[Row]) -> Target:
    title = f"largest difference from literal, {dtype}, outputs and gradients"
    checked = [row for row in rows if "max_relative_difference" in row and "literal" not in row["candidate"]]
    if not checked:
        return Target(title, tolerance, None, "", scientific, at_least=False)
    worst = max(checked, key=lambda row: row["max_relative_difference"])
    return Target(title, tolerance, worst["max_relative_difference"], worst["candidate"], scientific, at_least=False)
