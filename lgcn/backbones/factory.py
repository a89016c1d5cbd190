"""Backbones by name: the registered ones, and every timm network as it is called there."""

from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from typing import Any

import timm

from lgcn.backbones.base import Backbone
from lgcn.backbones.timm import TimmBackbone
from lgcn.checks import InputError
from lgcn.registry import Registry

BACKBONES: Registry[Callable[..., Backbone]] = Registry("backbone")
"""name -> ``factory(num_landmarks=K, **options)``; the networks this package has been used with, and the user's own."""

for _name in ("hrnet_w18", "hrnet_w32", "tf_efficientnet_lite0", "resnet18", "resnet50", "mobilenetv3_large_100"):
    BACKBONES.add(_name, partial(TimmBackbone, _name))


def create_backbone(name: str, num_landmarks: int, **options: Any) -> Backbone:
    """Builds a backbone.

    Args:
        name: a registered one (``BACKBONES.names()``) or any timm network.
        num_landmarks: K, the number of heatmaps.
        **options: of that backbone, such as ``head`` or ``pretrained`` of :class:`TimmBackbone`.

    Raises:
        InputError: for an unknown name (lists the choices) or option.
    """
    if name in BACKBONES:
        factory = BACKBONES[name]
    elif timm.is_model(name):
        factory = partial(TimmBackbone, name)
    else:
        near = get_close_matches(name, sorted({*BACKBONES.names(), *timm.list_models()}), n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise InputError(
            f"Expected 'backbone' to be one of {', '.join(BACKBONES.names())}, or any timm network "
            f"(got '{name}').{hint}"
        )
    try:
        return factory(num_landmarks=num_landmarks, **options)
    except TypeError as error:
        raise InputError(f"Expected options that backbone '{name}' knows (got {sorted(options)}): {error}.") from error
