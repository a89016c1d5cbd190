"""Evaluation of detectors: errors on a dataset, tables, and published results."""

from lgcn.evaluation.comparison_table import ComparisonTable, comparison_tables
from lgcn.evaluation.conditions import CONDITIONS, ConditionFamily, condition_transform, degrade_faces
from lgcn.evaluation.conditions_table import conditions_tables
from lgcn.evaluation.evaluate import crop_faces, evaluate, evaluation_transform
from lgcn.evaluation.formatting import format_conditions, format_result, report_markdown
from lgcn.evaluation.literature import PublishedResult, published_results
from lgcn.evaluation.results import EvaluationResult, EvaluationRow

__all__ = [
    "CONDITIONS",
    "ComparisonTable",
    "ConditionFamily",
    "EvaluationResult",
    "EvaluationRow",
    "PublishedResult",
    "comparison_tables",
    "condition_transform",
    "conditions_tables",
    "crop_faces",
    "degrade_faces",
    "evaluate",
    "evaluation_transform",
    "format_conditions",
    "format_result",
    "published_results",
    "report_markdown",
]
