"""Adapters from other libraries: their keypoints as :class:`lgcn.typing.KeyPoints`, their networks as backbones."""

from lgcn.adapters.hooks import HookedBackbone, load_network
from lgcn.adapters.points import combine_runs, from_arrays, from_supervision, from_vitpose
from lgcn.adapters.rtmlib import RTMPoseAdapter
from lgcn.adapters.torchvision import KeypointRCNNAdapter
from lgcn.adapters.vitpose import ViTPoseBackbone

__all__ = [
    "HookedBackbone",
    "KeypointRCNNAdapter",
    "RTMPoseAdapter",
    "ViTPoseBackbone",
    "combine_runs",
    "from_arrays",
    "from_supervision",
    "from_vitpose",
    "load_network",
]
