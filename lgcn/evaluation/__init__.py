"""Evaluation of detectors: errors on a dataset, tables, and published results."""

from lgcn.evaluation.comparison_table import ComparisonTable, comparison_tables
from lgcn.evaluation.evaluate import crop_faces, evaluate, evaluation_transform
from lgcn.evaluation.formatting import format_result, report_markdown
from lgcn.evaluation.literature import PublishedResult, published_results
from lgcn.evaluation.results import EvaluationResult, EvaluationRow

__all__ = [
    "ComparisonTable",
    "EvaluationResult",
    "EvaluationRow",
    "PublishedResult",
    "comparison_tables",
    "crop_faces",
    "evaluate",
    "evaluation_transform",
    "format_result",
    "published_results",
    "report_markdown",
]
