"""Tables and the plot of the Gaussian refiner, from the JSON of ``benchmarks/gaussian_refiner.py``."""

from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from benchmarks.ablation.degradations import CONDITIONS
from benchmarks.ablation.gaussian import COMPARISONS, SWAPPED, VARIANTS
from benchmarks.ablation.report import Table, interval
from lgcn.files import replace_when_done

Runs = dict[tuple[str, int], dict[str, Any]]
"""Variant and seed -> result."""


def summary(runs: Runs, part: str) -> list[dict[str, Any]]:
    """Mean and standard deviation over seeds of the NME in per cent, for each row and condition."""
    rows = []
    for name in VARIANTS:
        done = [result for (variant, _), result in runs.items() if variant == name]
        for kind in (part, f"{part}, {SWAPPED}") if done else ():
            nme = torch.tensor([[sum(run[kind][c]) / len(run[kind][c]) for c in CONDITIONS] for run in done]).double()
            spread = nme.std(0).tolist() if len(done) > 1 else [None] * len(CONDITIONS)
            row = {"variant": name, "faces": part, "swapped": kind != part, "seeds": len(done)}
            row |= {"mean": dict(zip(CONDITIONS, nme.mean(0).tolist(), strict=True))}
            rows.append(row | {"std": dict(zip(CONDITIONS, spread, strict=True))})
    return rows


def comparisons(runs: Runs, part: str = "test") -> list[dict[str, Any]]:
    """Paired differences of NME, in percentage points, with 95 % intervals of a bootstrap over faces and seeds."""
    rows = []
    for first, second in COMPARISONS:
        other, _, swapped = second.partition(", ")
        kind = f"{part}, {swapped}" if swapped else part
        seeds = [seed for variant, seed in runs if variant == first and (other, seed) in runs]
        if not seeds:
            continue
        row: dict[str, Any] = {"first": first, "second": second, "seeds": len(seeds)}
        for condition in CONDITIONS:
            ours = torch.tensor([runs[first, seed][part][condition] for seed in seeds]).double()
            theirs = torch.tensor([runs[other, seed][kind][condition] for seed in seeds]).double()
            row[condition] = [(ours - theirs).mean().item(), *interval(ours - theirs)]
        rows.append(row)
    return rows


def key_table(figures: dict[str, Any]) -> Table:
    """The table of ``docs/gaussian_results.md``."""
    columns = ("clean", "patch 20 %", "patch 40 %", "blur 4 px", "dark 1/4")
    body = [["backbone, soft-argmax", *(f"{figures['backbone']['test'][c]:.3f}" for c in columns)]]
    wanted = ("closed", "no_graph", "transformer", "type", "confidence", "full")
    body += [row for variant in wanted for row in _nme_rows(figures, columns, (variant,), ("confidence",))]
    return "Key results", ["", *columns], body


def tables(figures: dict[str, Any]) -> list[Table]:
    """All tables, from the content of the JSON."""
    body = [["backbone, soft-argmax", *(f"{figures['backbone']['test'][c]:.3f}" for c in CONDITIONS)]]
    body += _nme_rows(figures, CONDITIONS, VARIANTS, ("confidence", "full"))
    made: list[Table] = [("NME on test faces", ["", *CONDITIONS], body)]
    held_out = [["backbone, soft-argmax", *(f"{figures['backbone']['held out'][c]:.3f}" for c in CONDITIONS)]]
    held_out += _nme_rows(figures, CONDITIONS, VARIANTS, (), "held out")
    made.append(("NME on held-out training faces, which choose", ["", *CONDITIONS], held_out))
    if figures["comparisons"]:
        body = []
        for row in figures["comparisons"]:
            other, _, swapped = row["second"].partition(", ")
            label = f"{VARIANTS[row['first']].label} - {f'with {swapped}' if swapped else VARIANTS[other].label}"
            cells = ["{:+.3f} ({:+.3f} ... {:+.3f})".format(*row[c]) for c in CONDITIONS]
            body.append([label, *cells])
        made.append(("Paired differences on test faces", ["", *CONDITIONS], body))
    body = []
    for name, each in figures["certainty"].items():
        for label, key in (("as predicted", "coverage_before"), ("calibrated", "coverage")):
            body.append([f"{VARIANTS[name].label}, {label}", *(f"{100 * each[key][c]:.1f}" for c in CONDITIONS)])
        body.append(
            [
                f"{VARIANTS[name].label}, error over expected error",
                *(f"{each['error_ratio'][c]:.2f}" for c in CONDITIONS),
            ]
        )
    made.append(("Coverage of 90 % regions in per cent, and expected errors", ["", *CONDITIONS], body))
    return made


def _nme_rows(
    figures: dict[str, Any],
    conditions: Iterable[str],
    variants: Container[str],
    swapped: Container[str],
    part: str = "test",
) -> list[list[str]]:
    """Rows of some variants, those of ``swapped`` also with the confidences of another face."""
    body = []
    for row in figures["summary"]:
        of_part = row["faces"] == part and row["variant"] in variants
        if of_part and (not row["swapped"] or row["variant"] in swapped):
            label = VARIANTS[row["variant"]].label + (f": {SWAPPED}" if row["swapped"] else "")
            seeds = f" ({row['seeds']} seeds)" if row["seeds"] > 1 else ""
            body.append([label + seeds, *(f"{row['mean'][c]:.3f}" for c in conditions)])
    return body


def draw(figures: dict[str, Any], path: Path) -> None:
    """NME over the covered part of the face."""
    shares = {"clean": 0, "patch 20 %": 20, "patch 40 %": 40}
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    lines = [("backbone", figures["backbone"]["test"], "black", ":")]
    styles = {"no_graph": ("#0072b2", "--"), "transformer": ("#009e73", "--"), "type": ("#e69f00", "-")}
    styles |= {"confidence": ("#d55e00", "-"), "full": ("#8c2d04", "-")}
    for row in figures["summary"]:
        if row["faces"] == "test" and not row["swapped"] and row["variant"] in styles:
            lines.append((VARIANTS[row["variant"]].label, row["mean"], *styles[row["variant"]]))
    for label, values, color, line in lines:
        axes.plot(list(shares.values()), [values[c] for c in shares], line, color=color, marker="o", label=label)
    axes.set(xlabel="covered part of the face in per cent", ylabel="NME in per cent", xticks=list(shares.values()))
    axes.grid(alpha=0.3)
    axes.legend()
    with replace_when_done(path) as part:
        figure.savefig(part, dpi=150, format="png")
