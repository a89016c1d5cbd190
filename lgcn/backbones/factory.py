"""Backbones by name: the registered ones and all networks of timm."""

from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from typing import Any

import timm

from lgcn.backbones.base import Backbone
from lgcn.backbones.hourglass import HourglassBackbone
from lgcn.backbones.timm import TimmBackbone
from lgcn.checks import InputError, check_options
from lgcn.registry import OWN_HINT, Registry

BACKBONES: Registry[Callable[..., Backbone]] = Registry("backbone")
"""name -> ``factory(num_landmarks=K, **options)``; the networks that this package was tested with, and your own."""

for _name in ("hrnet_w18", "hrnet_w32", "tf_efficientnet_lite0", "resnet18", "resnet50", "mobilenetv3_large_100"):
    BACKBONES.register(_name, partial(TimmBackbone, _name))
BACKBONES.register("hourglass", HourglassBackbone)


def create_backbone(name: str, num_landmarks: int, **options: Any) -> Backbone:
    """Create a backbone.

    Args:
        name: a registered one (``BACKBONES.names()``) or any timm network.
        num_landmarks: K, the number of heatmaps.
        **options: of that backbone, such as ``head`` or ``pretrained`` of :class:`TimmBackbone`.

    Raises:
        InputError: for an unknown name (lists the choices) or option.
    """
    if not isinstance(name, str):
        raise InputError(
            f"Expected 'backbone' to be a name (got {type(name).__name__}). Pass your own network to "
            "LandmarkDetector(config, backbone=...)."
        )
    if name in BACKBONES:
        factory = BACKBONES[name]
    elif timm.is_model(name):
        factory = partial(TimmBackbone, name)
    else:
        near = get_close_matches(name, sorted({*BACKBONES.names(), *timm.list_models()}), n=3)
        hint = f"Did you mean {' or '.join(near)}?" if near else OWN_HINT
        raise InputError(
            f"Expected 'backbone' to be one of {', '.join(BACKBONES.names())}, or any timm network "
            f"(got '{name}'). {hint}"
        )
    check_options("backbone option", options, factory, given=["num_landmarks"])
    try:
        return factory(num_landmarks=num_landmarks, **options)
    except TypeError as error:
        raise InputError(f"Expected options of backbone '{name}' (got {options}: {error}).") from error
