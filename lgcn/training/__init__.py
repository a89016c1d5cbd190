"""Training of detectors with Lightning (``pip install 'lgcn[train]'``)."""

from lgcn.training.calibration import calibrate_refiner
from lgcn.training.callbacks import ExportBestModel, default_callbacks, find_last_checkpoint
from lgcn.training.closed_form import fit_refiners
from lgcn.training.config import AugmentationConfig, LossConfig, ScheduleConfig
from lgcn.training.datamodule import LandmarkDataModule
from lgcn.training.module import LandmarkModule, LandmarkPredictions
from lgcn.training.report_unreadable import ReportUnreadable

__all__ = [
    "AugmentationConfig",
    "ExportBestModel",
    "LandmarkDataModule",
    "LandmarkModule",
    "LandmarkPredictions",
    "LossConfig",
    "ReportUnreadable",
    "ScheduleConfig",
    "calibrate_refiner",
    "default_callbacks",
    "find_last_checkpoint",
    "fit_refiners",
]
