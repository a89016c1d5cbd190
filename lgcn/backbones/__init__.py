"""Heatmap networks: the interface, timm networks, and an adapter for any other."""

from lgcn.backbones.base import Backbone
from lgcn.backbones.checkpoints import convert_hrnet_state_dict, load_hrnet_checkpoint, read_weights
from lgcn.backbones.factory import BACKBONES, create_backbone
from lgcn.backbones.hourglass import HourglassBackbone
from lgcn.backbones.module import ModuleBackbone
from lgcn.backbones.timm import TimmBackbone

__all__ = [
    "BACKBONES",
    "Backbone",
    "HourglassBackbone",
    "ModuleBackbone",
    "TimmBackbone",
    "convert_hrnet_state_dict",
    "create_backbone",
    "load_hrnet_checkpoint",
    "read_weights",
]
