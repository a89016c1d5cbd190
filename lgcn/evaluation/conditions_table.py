"""One table over conditions: errors of initial and refined landmarks, covered and visible ones apart."""

import math
from collections.abc import Sequence

from lgcn.evaluation.comparison_table import ComparisonTable
from lgcn.evaluation.conditions import FOUND
from lgcn.evaluation.keypoint_metrics import keypoint_metrics, metric_title
from lgcn.evaluation.results import REGION_PERCENT, EvaluationResult, EvaluationRow
from lgcn.evaluation.text_tables import threshold_title
from lgcn.files import printable


def conditions_tables(results: Sequence[EvaluationResult]) -> list[ComparisonTable]:
    """A table for each model and split, with a row for each condition, and one for the faces that a detector found.

    Columns of the NME in per cent: of initial and of refined landmarks; of those among them that the condition leaves
    visible and that it covers; ``expected``, what the predicted covariances expect of the refined ones. Then the share
    of the refined landmarks in their 90 % regions; of those that the detector believes covered, how many of the covered
    ones they are, how many of them are covered, and how many of the visible ones they are; FR and AUC; of the refined
    landmarks, the registered metrics, and PCK and OKS as in :func:`format_result`. Columns without any value are left
    out.
    """
    groups: dict[tuple[str, str], list[EvaluationResult]] = {}
    for result in results:
        groups.setdefault((result.model, result.split), []).append(result)
    return [_table(group, several=len(groups) > 1) for group in groups.values()]


def _table(results: Sequence[EvaluationResult], several: bool) -> ComparisonTable:
    rows = []
    for result in results:
        rows.append((result, result.condition, _cells(result.rows, result.sigmas)))
        if FOUND in result.masks:
            rows.append((result, f"{result.condition}: {FOUND}", _cells(result.subsets[FOUND], result.sigmas)))
    # Of no faces, as where the detector finds none, there are not all metrics.
    columns = [column for column in rows[0][2] if any(cells.get(column, "-") != "-" for _, _, cells in rows)]
    title = f"{results[0].model}, {results[0].split}: NME %" if several else "NME %"
    return ComparisonTable(
        printable(title),
        tuple(columns),
        [
            (printable(name), result.protocol.name, [cells.get(column, "-") for column in columns])
            for result, name, cells in rows
        ],
        rows_are="condition",
    )


def _cells(rows: dict[str, EvaluationRow], sigmas: tuple[float, ...] | None) -> dict[str, str]:
    """Title of a column -> cell."""
    initial, refined, last = rows["initial"], rows.get("refined"), list(rows.values())[-1]
    values: dict[str, tuple[float | None, int]] = {
        "initial": (initial.nme_percent, 3),
        "refined": (None if refined is None else refined.nme_percent, 3),
        "initial visible": (initial.visible_nme_percent, 3),
        "refined visible": (None if refined is None else refined.visible_nme_percent, 3),
        "initial covered": (initial.covered_nme_percent, 3),
        "refined covered": (None if refined is None else refined.covered_nme_percent, 3),
        "expected": (last.expected_nme_percent, 3),
        f"in {REGION_PERCENT} % regions": (last.coverage_percent, 1),
        "covered recall %": (last.covered_recall_percent, 1),
        "covered precision %": (last.covered_precision_percent, 1),
        "visible called covered %": (last.covered_false_percent, 1),
    }
    for threshold in last.fr_percent:
        values[f"FR@{threshold_title(threshold)} %"] = (last.fr_percent[threshold], 2)
        values[f"AUC@{threshold_title(threshold)}"] = (last.auc[threshold], 4)
    for name, value in keypoint_metrics(last.landmark_errors, sigmas).items():
        values[metric_title(name)] = (value, 2 if "_percent" in name else 4)
    return {
        name: "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"
        for name, (value, digits) in values.items()
    }
