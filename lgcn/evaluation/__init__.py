"""Evaluation of detectors: errors on a dataset, tables of them, and the figures of the literature."""

from lgcn.evaluation.comparison_table import comparison_tables
from lgcn.evaluation.evaluate import crop_faces, evaluate, evaluation_transform
from lgcn.evaluation.literature import PublishedFigures, published_figures
from lgcn.evaluation.report import report_markdown
from lgcn.evaluation.results import EvaluationResult, EvaluationRow

__all__ = [
    "EvaluationResult",
    "EvaluationRow",
    "PublishedFigures",
    "comparison_tables",
    "crop_faces",
    "evaluate",
    "evaluation_transform",
    "published_figures",
    "report_markdown",
]
