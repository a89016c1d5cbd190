"""Evaluation results as a printed table and as JSON."""

import math
import platform
from typing import Any

import torch
import torch_geometric

from lgcn import __version__
from lgcn.engine.evaluation import EvaluationResult, EvaluationRow

ROW_TITLES = {"initial": "initial (heatmap)", "refined": "refined (graph)"}

NORMALIZER_TITLES = {
    "inter_ocular": "the distance between the outer eye corners",
    "inter_pupil": "the distance between the pupils or eye centres",
    "box": "sqrt(width x height) of the tight landmark box",
}


def format_result(result: EvaluationResult) -> str:
    """The result as text: what was evaluated, a table of aligned columns, a loud line if faces are missing.

    NME and FR are per cent, AUC is a fraction.
    """
    normalizer = NORMALIZER_TITLES.get(result.normalizer, "the distance of that name")
    expected = "" if result.expected_faces in (None, result.num_faces) else f" of {result.expected_faces}"
    facts = {
        "model": result.model,
        "dataset": f"{result.dataset}, split {result.split}",
        "faces": f"{result.num_faces}{expected}",
        "protocol": f"{result.protocol.name} ({result.protocol.description})",
        "normalizer": f"{result.normalizer} ({normalizer})",
    }
    header = ["landmarks", "NME %"]
    header += [f"{figure}@{_title(threshold)}{unit}" for threshold in result.thresholds for figure, unit in _FIGURES]
    table = [header]
    for name, row in result.rows.items():
        cells = [(row.fr[threshold], row.auc[threshold]) for threshold in result.thresholds]
        figures = [text for fr, auc in cells for text in (f"{fr:.2f}", f"{auc:.4f}")]
        table.append([ROW_TITLES[name], f"{row.nme:.3f}", *figures])
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    lines = [f"{name + ':':<12}{value}" for name, value in facts.items()]
    lines.append("")
    for first, *others in table:
        cells_right = (f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True))
        lines.append("   ".join([f"{first:<{widths[0]}}", *cells_right]))
    if result.warning is not None:
        lines += ["", f"WARNING: INCOMPLETE {result.warning}. These figures cannot be compared with published ones."]
    return "\n".join(lines)


def result_to_dict(result: EvaluationResult) -> dict[str, Any]:
    """The result as plain values for JSON; a figure that is not finite (a NaN prediction) becomes None."""
    return {
        "model": result.model,
        "dataset": result.dataset,
        "split": result.split,
        "num_faces": result.num_faces,
        "expected_faces": result.expected_faces,
        "warning": result.warning,
        "protocol": result.protocol.name,
        "protocol_description": result.protocol.description,
        "normalizer": result.normalizer,
        "thresholds": list(result.thresholds),
        "units": {"nme": "per cent", "fr": "per cent", "auc": "fraction"},
        "results": {name: _row_to_dict(row) for name, row in result.rows.items()},
        "versions": {
            "lgcn": __version__,
            "torch": torch.__version__,
            "torch_geometric": torch_geometric.__version__,
            "python": platform.python_version(),
        },
    }


_FIGURES = (("FR", " %"), ("AUC", ""))


def _row_to_dict(row: EvaluationRow) -> dict[str, float | None]:
    figures = {"nme": row.nme}
    for threshold in row.fr:
        figures[f"fr@{_title(threshold)}"] = row.fr[threshold]
        figures[f"auc@{_title(threshold)}"] = row.auc[threshold]
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def _title(threshold: float) -> str:
    """0.1 -> "0.10", 0.075 -> "0.075": two digits, as the literature writes them, or as many as it takes."""
    return f"{threshold:.2f}" if math.isclose(round(threshold, 2), threshold) else f"{threshold:g}"
