"""Evaluation results as plain values for JSON, and as rows for CSV."""

import math
import platform
from typing import Any

import torch
import torch_geometric

from lgcn import __version__
from lgcn.evaluation.breakdown import break_down
from lgcn.evaluation.keypoint_metrics import keypoint_metrics
from lgcn.evaluation.results import REGION_PERCENT, EvaluationResult, EvaluationRow
from lgcn.evaluation.text_tables import threshold_title
from lgcn.metrics import cumulative_error_distribution


def result_to_dict(result: EvaluationResult) -> dict[str, Any]:
    """The result as plain values for JSON; a value that is not finite (a NaN prediction) becomes None."""
    return {
        "model": result.model,
        "dataset": result.dataset,
        "split": result.split,
        "condition": result.condition,
        "seed": result.seed,
        "num_faces": result.num_faces,
        "expected_faces": result.expected_faces,
        "missed_faces": result.missed_faces,
        "unreadable": result.unreadable,
        "warning": result.warning,
        "protocol": result.protocol.name,
        "protocol_description": result.protocol.description,
        "protocol_facts": result.protocol.facts(),
        "normalizer": result.normalizer,
        "thresholds": list(result.thresholds),
        **_rows_to_dict(result.rows, result.sigmas),
        "subsets": {
            name: {
                "num_faces": result.num_measured(name),
                "expected_faces": result.expected_subset_faces.get(name),
                **_rows_to_dict(rows, result.sigmas),
            }
            for name, rows in result.subsets.items()
        },
        **_breakdown_to_dict(result),
        "versions": {
            "lgcn": __version__,
            "torch": torch.__version__,
            "torch_geometric": torch_geometric.__version__,
            "python": platform.python_version(),
        },
    }


def result_to_rows(result: EvaluationResult) -> list[dict[str, object]]:
    """A row for the whole split and for each subset, of each set of landmarks; all rows have the same keys."""
    parts = {"": result.rows, **result.subsets}
    return [
        {**_conditions(result), "subset": name, "num_faces": result.num_measured(name or None), "landmarks": kind}
        | {metric: _digits(value) for metric, value in _metrics(row, result.sigmas).items()}
        | {f"nme_percent_p{percent}": _digits(value) for percent, value in row.nme_percent_percentiles.items()}
        for name, rows in parts.items()
        for kind, row in rows.items()
    ]


def faces_to_rows(result: EvaluationResult) -> list[dict[str, object]]:
    """A row for each face, in the order of the dataset: NME in per cent, 0 or 1 for each subset, and properties."""
    errors = {kind: (100 * row.errors).tolist() for kind, row in result.rows.items()}
    return [
        {**_conditions(result), "face": index, "image_id": image_id}
        | {f"nme_percent_{kind}": _digits(each[index]) for kind, each in errors.items()}
        | {name: int(mask[index]) for name, mask in result.masks.items()}
        | {name: _digits(values[index].item()) for name, values in result.properties.items()}
        for index, image_id in enumerate(result.image_ids)
    ]


def landmarks_to_rows(result: EvaluationResult) -> list[dict[str, object]]:
    """A row for each landmark: its NME in per cent."""
    errors = {kind: row.nme_percent_per_landmark.tolist() for kind, row in result.rows.items()}
    return [
        {**_conditions(result), "landmark": index, "name": name}
        | {f"nme_percent_{kind}": _digits(each[index]) for kind, each in errors.items()}
        for index, name in enumerate(result.landmark_names)
    ]


def curve_to_rows(
    result: EvaluationResult, kind: str, threshold: float, subset: str = "", num_points: int = 201
) -> list[dict[str, object]]:
    """A row for each point of a cumulative error distribution: the fraction of the faces with at most that NME.

    Args:
        result: result on a split.
        kind: set of landmarks, a key of ``result.rows``.
        threshold: the last NME, a fraction; the first is 0.
        subset: subset of the split; "" is the whole split.
        num_points: number of evenly spaced points.
    """
    errors = (result.subsets[subset] if subset else result.rows)[kind].errors
    at = threshold * torch.arange(num_points, dtype=torch.float64) / (num_points - 1)
    curve = cumulative_error_distribution(errors.cpu().double(), at)
    same = {**_conditions(result), "subset": subset, "landmarks": kind}
    return [
        {**same, "nme_percent": f"{100 * nme:.6g}", "fraction_of_faces": f"{faces:.6g}"}
        for nme, faces in zip(at.tolist(), curve.tolist(), strict=True)
    ]


def _conditions(result: EvaluationResult) -> dict[str, object]:
    """The columns that every row starts with."""
    return {
        "model": result.model,
        "dataset": result.dataset,
        "split": result.split,
        "condition": result.condition,
        "protocol": result.protocol.name,
        "normalizer": result.normalizer,
    }


def _rows_to_dict(rows: dict[str, EvaluationRow], sigmas: tuple[float, ...] | None) -> dict[str, Any]:
    return {
        "results": {kind: _finite(_metrics(row, sigmas)) for kind, row in rows.items()},
        "nme_percent_percentiles": {
            kind: _finite({str(percent): value for percent, value in row.nme_percent_percentiles.items()})
            for kind, row in rows.items()
        },
    }


def _breakdown_to_dict(result: EvaluationResult) -> dict[str, Any]:
    groups = break_down(result)
    return {"breakdown": {name: [each.to_dict() for each in group] for name, group in groups.items()}} if groups else {}


def _metrics(row: EvaluationRow, sigmas: tuple[float, ...] | None) -> dict[str, float]:
    metrics = {"nme_percent": row.nme_percent}
    for threshold in row.fr_percent:
        metrics[f"fr_percent@{threshold_title(threshold)}"] = row.fr_percent[threshold]
        metrics[f"auc@{threshold_title(threshold)}"] = row.auc[threshold]
    others = {
        "covered_nme_percent": row.covered_nme_percent,
        "visible_nme_percent": row.visible_nme_percent,
        "expected_nme_percent": row.expected_nme_percent,
        f"coverage_percent@{REGION_PERCENT}": row.coverage_percent,
        "covered_recall_percent": row.covered_recall_percent,
        "covered_precision_percent": row.covered_precision_percent,
        "covered_false_percent": row.covered_false_percent,
    }
    metrics |= keypoint_metrics(row.landmark_errors, sigmas)
    return metrics | {name: value for name, value in others.items() if value is not None}


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _digits(value: float) -> str:
    """Six digits; empty if the value is missing or infinite."""
    return f"{value:.6g}" if math.isfinite(value) else ""
