"""Answers to what the paper leaves open, by name (the table is in ``docs/presets.md``)."""

from dataclasses import dataclass, field
from typing import Any

from lgcn.registry import Registry


@dataclass(frozen=True)
class Preset:
    """Options of the codec and of the refiner; a detector's own options go on top.

    Args:
        codec: arguments of :class:`lgcn.codecs.HeatmapCodec`.
        refiner: arguments of :class:`lgcn.nn.LandmarkRefiner`.
    """

    codec: dict[str, Any] = field(default_factory=dict)
    refiner: dict[str, Any] = field(default_factory=dict)


PRESETS: Registry[Preset] = Registry("preset")
PRESETS.register(
    "paper",
    Preset(
        # The focal loss needs targets that are 1 on a cell; decoding is sub-pixel all the same.
        codec={"sigma": 1.5, "decode": "dark", "activation": "sigmoid", "target": "integer"},
        refiner={"hidden_channels": (64, 16), "output": "absolute"},
    ),
)
PRESETS.register(
    "official",
    Preset(
        codec={"sigma": 1.5, "decode": "argmax", "activation": "linear", "target": "integer"},
        refiner={
            "visual_channels": (512, 128, 32, 8),
            "visual_norm": "batch_norm",
            "visual_act_last": True,
            "hidden_channels": (64, 16),
            "connectivity": "learnable",
            "connectivity_options": {
                "class_hidden_channels": 32,
                "class_channels": 1,
                "edge_hidden_channels": 4,
                "norm": "batch_norm",
                "act_last": True,
                "self_loops": "zero",
            },
            "output": "absolute",
            "coordinates": "cell",
            "act": None,
            "shape_features": (True, False, True),
            "bias": False,
            "sampling": "nearest",
        },
    ),
)
PRESETS.register(
    "default",
    Preset(
        codec={"sigma": 1.0, "decode": "softargmax", "activation": "softmax", "target": "subpixel"},
        refiner={
            "hidden_channels": (128, 64),
            "output": "offset",
            "landmark_channels": 32,
            "confidence_feature": True,
        },
    ),
)
