"""Presets: complete configurations that settle what the paper leaves open (see ``docs/presets.md``)."""

from lgcn.models.config import CodecConfig, DetectorConfig
from lgcn.models.refiner_config import ConnectivityConfig, LearnableConfig, RefinerConfig
from lgcn.registry import Registry

PRESETS: Registry[DetectorConfig] = Registry("preset")
"""name -> configuration to start from; change it with :meth:`DetectorConfig.with_options`."""

PRESETS.register(
    "paper",
    DetectorConfig(
        # The focal loss needs targets that are 1 on a cell; decoding is sub-pixel all the same.
        codec=CodecConfig(sigma=1.5, decode="dark", activation="sigmoid", target="integer"),
        refiner=RefinerConfig(hidden_channels=(64, 16), output="absolute"),
    ),
)
PRESETS.register(
    "official",
    DetectorConfig(
        codec=CodecConfig(sigma=1.5, decode="argmax", activation="linear", target="integer"),
        refiner=RefinerConfig(
            visual_channels=(512, 128, 32, 8),
            visual_norm="batch_norm",
            visual_act_last=True,
            hidden_channels=(64, 16),
            connectivity=ConnectivityConfig(
                self_loops="zero",
                learnable=LearnableConfig(
                    class_hidden_channels=32,
                    class_channels=1,
                    edge_hidden_channels=4,
                    norm="batch_norm",
                    act_last=True,
                ),
            ),
            output="absolute",
            coordinates="cell",
            act=None,
            shape_features=(True, False, True),
            bias=False,
            sampling="nearest",
        ),
    ),
)
PRESETS.register(
    "default",
    DetectorConfig(
        codec=CodecConfig(sigma=1.0, decode="softargmax", activation="softmax", target="subpixel"),
        refiner=RefinerConfig(
            hidden_channels=(128, 64), output="offset", landmark_channels=32, confidence_feature=True
        ),
    ),
)
