"""Landmark detection with learnable-connectivity graph convolution.

Subpackages such as ``lgcn.nn`` and the names in ``__all__`` are imported on first use: ``import lgcn`` is cheap, and
the layers can be used without the rest.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "DetectorConfig": "lgcn.models",
    "KeyPoints": "lgcn.typing",
    "LandmarkDetector": "lgcn.models",
    "LandmarkPredictor": "lgcn.predict",
    "LandmarkTracker": "lgcn.video",
    "ShapeRefiner": "lgcn.models",
    "create_detector": "lgcn.models",
    "refine": "lgcn.models",
}
_PARTS = {
    "adapters",
    "backbones",
    "checks",
    "cli",
    "codecs",
    "covariance",
    "datasets",
    "demo",
    "evaluation",
    "export",
    "files",
    "geometry",
    "graph",
    "images",
    "losses",
    "metrics",
    "models",
    "modes",
    "nn",
    "options",
    "predict",
    "protocols",
    "registry",
    "schemes",
    "seeding",
    "testing",
    "training",
    "transforms",
    "typing",
    "video",
    "visualization",
}

__all__ = [
    "DetectorConfig",
    "KeyPoints",
    "LandmarkDetector",
    "LandmarkPredictor",
    "LandmarkTracker",
    "ShapeRefiner",
    "__version__",
    "create_detector",
    "refine",
]

if TYPE_CHECKING:
    from lgcn import (  # noqa: F401 - for type checkers, which do not run __getattr__
        adapters,
        backbones,
        checks,
        cli,
        codecs,
        covariance,
        datasets,
        demo,
        evaluation,
        export,
        files,
        geometry,
        graph,
        images,
        losses,
        metrics,
        models,
        modes,
        nn,
        options,
        predict,
        protocols,
        registry,
        schemes,
        seeding,
        testing,
        training,
        transforms,
        typing,
        video,
        visualization,
    )
    from lgcn.models import DetectorConfig, LandmarkDetector, ShapeRefiner, create_detector, refine
    from lgcn.predict import LandmarkPredictor
    from lgcn.typing import KeyPoints
    from lgcn.video import LandmarkTracker


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        return import_module(f"lgcn.{name}")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'lgcn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_PARTS})
