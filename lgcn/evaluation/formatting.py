"""Evaluation results as a printed table, as JSON and as rows of CSV."""

import math
import platform
from collections.abc import Sequence
from typing import Any

import torch
import torch_geometric

from lgcn import __version__
from lgcn.evaluation.results import EvaluationResult, EvaluationRow
from lgcn.metrics import cumulative_error_distribution

ROW_TITLES = {"initial": "initial (heatmap)", "refined": "refined (graph)"}

NORMALIZER_TITLES = {
    "inter_ocular": "the distance between the outer eye corners",
    "inter_pupil": "the distance between the pupils or eye centres",
    "box": "sqrt(width x height) of the tight landmark box",
    "box_size": "the size of the face's box as the annotation gives it",
}


def format_result(result: EvaluationResult) -> str:
    """The result as text: what was evaluated, a table of aligned columns, a loud line if faces are missing.

    NME and FR are per cent, AUC is a fraction.
    """
    header = ["landmarks", "NME %"]
    header += [
        f"{figure}@{threshold_title(threshold)}{unit}" for threshold in result.thresholds for figure, unit in _FIGURES
    ]
    table = [header]
    for name, row in result.rows.items():
        cells = [(row.fr[threshold], row.auc[threshold]) for threshold in result.thresholds]
        figures = [text for fr, auc in cells for text in (f"{fr:.2f}", f"{auc:.4f}")]
        table.append([ROW_TITLES.get(name, name), f"{row.nme:.3f}", *figures])
    lines = [f"{name + ':':<12}{value}" for name, value in facts_of(result).items()]
    lines += ["", *align(table, left=1)]
    warning = warning_of(result)
    return "\n".join(lines if warning is None else [*lines, "", warning])


def facts_of(result: EvaluationResult) -> dict[str, str]:
    """What was evaluated, on what and how, in words."""
    normalizer = NORMALIZER_TITLES.get(result.normalizer, "the distance of that name")
    expected = "" if result.expected_faces in (None, result.num_faces) else f" of {result.expected_faces}"
    facts = {
        "model": result.model,
        "dataset": f"{result.dataset}, split {result.split}",
        "faces": f"{result.num_faces}{expected}",
        "protocol": f"{result.protocol.name} ({result.protocol.description})",
        "normalizer": f"{result.normalizer} ({normalizer})",
    }
    if result.missed_faces is not None:
        facts["boxes"] = (
            f"of a face detector; {result.missed_faces} of {len(result.image_ids)} faces that it missed are cropped by "
            "their landmarks"
        )
    if result.unreadable:
        pictures = f"{len(result.unreadable)} picture{'s' if len(result.unreadable) > 1 else ''}"
        facts["left out"] = f"{pictures} that cannot be read: {some_names(list(result.unreadable))}"
    return facts


def some_names(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many there are besides."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{rest}"


def warning_of(result: EvaluationResult) -> str | None:
    """What is missing of the split, None where nothing is."""
    if result.warning is None:
        return None
    return f"WARNING: INCOMPLETE {result.warning}. These figures cannot be compared with published ones."


def align(table: Sequence[Sequence[str]], left: int) -> list[str]:
    """Lines of a table whose first ``left`` columns start, and whose others end, at the same place."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "   ".join(
            f"{cell:<{width}}" if number < left else f"{cell:>{width}}"
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def result_to_dict(result: EvaluationResult) -> dict[str, Any]:
    """The result as plain values for JSON; a figure that is not finite (a NaN prediction) becomes None."""
    return {
        "model": result.model,
        "dataset": result.dataset,
        "split": result.split,
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
        "units": {"nme": "per cent", "fr": "per cent", "auc": "fraction", "percentiles": "per cent"},
        "results": {name: _row_to_dict(row) for name, row in result.rows.items()},
        "percentiles": {name: _percentiles(row) for name, row in result.rows.items()},
        "subsets": {
            name: {
                "num_faces": result.num_judged(name),
                "expected_faces": result.expected_subset_faces.get(name),
                "results": {kind: _row_to_dict(row) for kind, row in rows.items()},
                "percentiles": {kind: _percentiles(row) for kind, row in rows.items()},
            }
            for name, rows in result.subsets.items()
        },
        "versions": {
            "lgcn": __version__,
            "torch": torch.__version__,
            "torch_geometric": torch_geometric.__version__,
            "python": platform.python_version(),
        },
    }


def _conditions(result: EvaluationResult) -> dict[str, object]:
    """The columns that every row of CSV begins with."""
    return {
        "model": result.model,
        "dataset": result.dataset,
        "split": result.split,
        "protocol": result.protocol.name,
        "normalizer": result.normalizer,
    }


def result_to_rows(result: EvaluationResult) -> list[dict[str, object]]:
    """A row of CSV for the whole split and for each subset, of each set of landmarks; same keys in every row."""
    parts = {"": result.rows, **result.subsets}
    return [
        {**_conditions(result), "subset": name, "num_faces": result.num_judged(name or None), "landmarks": kind}
        | {figure: "" if value is None else f"{value:.6g}" for figure, value in _row_to_dict(row).items()}
        | {f"nme_p{percent}": "" if value is None else f"{value:.6g}" for percent, value in _percentiles(row).items()}
        for name, rows in parts.items()
        for kind, row in rows.items()
    ]


def faces_to_rows(result: EvaluationResult) -> list[dict[str, object]]:
    """A row of CSV for each face, in the order of the dataset: NME in per cent, and 0 or 1 for each subset."""
    errors = {kind: (100 * row.errors).tolist() for kind, row in result.rows.items()}
    return [
        {**_conditions(result), "face": index, "image_id": image_id}
        | {f"nme_{kind}": "" if math.isnan(each[index]) else f"{each[index]:.6g}" for kind, each in errors.items()}
        | {name: int(mask[index]) for name, mask in result.masks.items()}
        for index, image_id in enumerate(result.image_ids)
    ]


def landmarks_to_rows(result: EvaluationResult) -> list[dict[str, object]]:
    """A row of CSV for each landmark: its NME in per cent."""
    errors = {kind: row.per_landmark.tolist() for kind, row in result.rows.items()}
    return [
        {**_conditions(result), "landmark": index, "name": name}
        | {f"nme_{kind}": "" if math.isnan(each[index]) else f"{each[index]:.6g}" for kind, each in errors.items()}
        for index, name in enumerate(result.landmark_names)
    ]


def curve_to_rows(
    result: EvaluationResult, kind: str, threshold: float, subset: str = "", num_points: int = 201
) -> list[dict[str, object]]:
    """Rows of CSV, a point of a cumulative error distribution each: the part of the faces whose NME is at most that.

    Args:
        result: of the split.
        kind: of landmarks, a key of ``result.rows``.
        threshold: the last NME, a fraction; the first is 0.
        subset: of the split; "" is all of it.
        num_points: evenly apart.
    """
    errors = (result.subsets[subset] if subset else result.rows)[kind].errors
    at = threshold * torch.arange(num_points, dtype=torch.float64) / (num_points - 1)
    curve = cumulative_error_distribution(errors.double().cpu(), at)
    same = {**_conditions(result), "subset": subset, "landmarks": kind}
    return [
        {**same, "nme": f"{100 * nme:.6g}", "faces": f"{faces:.6g}"}
        for nme, faces in zip(at.tolist(), curve.tolist(), strict=True)
    ]


_FIGURES = (("FR", " %"), ("AUC", ""))


def _row_to_dict(row: EvaluationRow) -> dict[str, float | None]:
    figures = {"nme": row.nme}
    for threshold in row.fr:
        figures[f"fr@{threshold_title(threshold)}"] = row.fr[threshold]
        figures[f"auc@{threshold_title(threshold)}"] = row.auc[threshold]
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def _percentiles(row: EvaluationRow) -> dict[str, float | None]:
    return {str(percent): value if math.isfinite(value) else None for percent, value in row.percentiles.items()}


def threshold_title(threshold: float) -> str:
    """0.1 -> "0.10", 0.075 -> "0.075": two digits, as the literature writes them, or as many as it takes."""
    return f"{threshold:.2f}" if math.isclose(round(threshold, 2), threshold) else f"{threshold:g}"
