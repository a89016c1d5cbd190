"""Evaluation of detectors: errors on a dataset, tables, and published results."""

from lgcn.evaluation.breakdown import FaceGroup, break_down, breakdown_tables
from lgcn.evaluation.comparison_table import ComparisonTable, comparison_tables
from lgcn.evaluation.conditions import CONDITIONS, ConditionFamily, condition_transform, degrade_faces
from lgcn.evaluation.conditions_table import conditions_tables
from lgcn.evaluation.evaluate import crop_faces, evaluate, evaluation_transform
from lgcn.evaluation.face_properties import face_properties, shape_properties
from lgcn.evaluation.formatting import format_conditions, format_result, report_markdown
from lgcn.evaluation.literature import PublishedResult, published_results
from lgcn.evaluation.results import EvaluationResult, EvaluationRow

__all__ = [
    "CONDITIONS",
    "ComparisonTable",
    "ConditionFamily",
    "EvaluationResult",
    "EvaluationRow",
    "FaceGroup",
    "PublishedResult",
    "break_down",
    "breakdown_tables",
    "comparison_tables",
    "condition_transform",
    "conditions_tables",
    "crop_faces",
    "degrade_faces",
    "evaluate",
    "evaluation_transform",
    "face_properties",
    "format_conditions",
    "format_result",
    "published_results",
    "report_markdown",
    "shape_properties",
]
