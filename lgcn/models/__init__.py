"""Whole detectors: backbone, codec and refiner composed, their presets, and checkpoints in and out."""

from lgcn.models.config import DetectorConfig
from lgcn.models.detector import LandmarkDetector, create_detector
from lgcn.models.loading import SHIPPED_MODELS
from lgcn.models.presets import PRESETS, Preset
from lgcn.models.released import load_released_checkpoint, load_released_refiner

__all__ = [
    "PRESETS",
    "SHIPPED_MODELS",
    "DetectorConfig",
    "LandmarkDetector",
    "Preset",
    "create_detector",
    "load_released_checkpoint",
    "load_released_refiner",
]
