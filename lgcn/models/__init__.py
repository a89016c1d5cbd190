"""Detectors: backbone, codec and refiner, with typed options, presets and checkpoints."""

from lgcn.models.config import CodecConfig, DetectorConfig
from lgcn.models.detector import LandmarkDetector, create_detector
from lgcn.models.gnn_config import GNNS, GNNConfig
from lgcn.models.loading import SHIPPED_MODELS
from lgcn.models.presets import PRESETS
from lgcn.models.refine_points import refine
from lgcn.models.refiner_config import (
    CONNECTIVITIES,
    REFINERS,
    ConnectivityConfig,
    GaussianConfig,
    LearnableConfig,
    RefinerConfig,
    TopologyConfig,
)
from lgcn.models.released import load_released_checkpoint, load_released_refiner
from lgcn.models.saved_config import read_config
from lgcn.models.shape_config import Refinement, ShapeRefinerConfig
from lgcn.models.shape_refiner import ShapeRefiner

__all__ = [
    "CONNECTIVITIES",
    "GNNS",
    "PRESETS",
    "REFINERS",
    "SHIPPED_MODELS",
    "CodecConfig",
    "ConnectivityConfig",
    "DetectorConfig",
    "GNNConfig",
    "GaussianConfig",
    "LandmarkDetector",
    "LearnableConfig",
    "Refinement",
    "RefinerConfig",
    "ShapeRefiner",
    "ShapeRefinerConfig",
    "TopologyConfig",
    "create_detector",
    "load_released_checkpoint",
    "load_released_refiner",
    "read_config",
    "refine",
]
