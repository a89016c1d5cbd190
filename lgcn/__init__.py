"""Landmark detection with learnable-connectivity graph convolution.

The names below are loaded on first use, so that ``import lgcn`` stays cheap and
``lgcn.nn`` can be used without anything of the face side being imported.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "DetectorConfig": "lgcn.models",
    "LandmarkDetector": "lgcn.models",
    "create_detector": "lgcn.models",
    "LandmarkPredictor": "lgcn.predict",
}

__all__ = ["DetectorConfig", "LandmarkDetector", "LandmarkPredictor", "__version__", "create_detector"]

if TYPE_CHECKING:
    from lgcn.models import DetectorConfig, LandmarkDetector, create_detector
    from lgcn.predict import LandmarkPredictor


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'lgcn' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
