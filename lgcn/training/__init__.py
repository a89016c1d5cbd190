"""Training of detectors with Lightning (``pip install 'lgcn[train]'``)."""

from lgcn.training.callbacks import ExportBestModel, default_callbacks, find_last_checkpoint
from lgcn.training.datamodule import Augmentation, LandmarkDataModule
from lgcn.training.module import LandmarkModule, LossOptions
from lgcn.training.optim import Schedule
from lgcn.training.unreadable import ReportUnreadable

__all__ = [
    "Augmentation",
    "ExportBestModel",
    "LandmarkDataModule",
    "LandmarkModule",
    "LossOptions",
    "ReportUnreadable",
    "Schedule",
    "default_callbacks",
    "find_last_checkpoint",
]
