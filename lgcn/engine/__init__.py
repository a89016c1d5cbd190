"""Training and evaluation of detectors.

The names are loaded on first use: training needs Lightning (``pip install 'lgcn[train]'``), evaluation does not.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOME = {
    "Augmentation": "lgcn.engine.data",
    "EvaluationResult": "lgcn.engine.results",
    "EvaluationRow": "lgcn.engine.results",
    "ExportBestModel": "lgcn.engine.callbacks",
    "LandmarkDataModule": "lgcn.engine.data",
    "LandmarkModule": "lgcn.engine.module",
    "LossOptions": "lgcn.engine.module",
    "PublishedFigures": "lgcn.engine.published",
    "ReportUnreadable": "lgcn.engine.unreadable",
    "Schedule": "lgcn.engine.optimization",
    "comparison_tables": "lgcn.engine.comparison",
    "crop_faces": "lgcn.engine.evaluation",
    "default_callbacks": "lgcn.engine.callbacks",
    "evaluate": "lgcn.engine.evaluation",
    "evaluation_transform": "lgcn.engine.evaluation",
    "find_last_checkpoint": "lgcn.engine.callbacks",
    "published_figures": "lgcn.engine.published",
    "report_markdown": "lgcn.engine.report",
}

__all__ = [
    "Augmentation",
    "EvaluationResult",
    "EvaluationRow",
    "ExportBestModel",
    "LandmarkDataModule",
    "LandmarkModule",
    "LossOptions",
    "PublishedFigures",
    "ReportUnreadable",
    "Schedule",
    "comparison_tables",
    "crop_faces",
    "default_callbacks",
    "evaluate",
    "evaluation_transform",
    "find_last_checkpoint",
    "published_figures",
    "report_markdown",
]

if TYPE_CHECKING:
    from lgcn.engine.callbacks import ExportBestModel, default_callbacks, find_last_checkpoint
    from lgcn.engine.comparison import comparison_tables
    from lgcn.engine.data import Augmentation, LandmarkDataModule
    from lgcn.engine.evaluation import crop_faces, evaluate, evaluation_transform
    from lgcn.engine.module import LandmarkModule, LossOptions
    from lgcn.engine.optimization import Schedule
    from lgcn.engine.published import PublishedFigures, published_figures
    from lgcn.engine.report import report_markdown
    from lgcn.engine.results import EvaluationResult, EvaluationRow
    from lgcn.engine.unreadable import ReportUnreadable


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'lgcn.engine' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
