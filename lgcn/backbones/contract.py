"""Checks that a network keeps the contract of a backbone, before a detector is built around it."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lgcn.backbones.base import Backbone
from lgcn.backbones.hourglass import HourglassBackbone
from lgcn.backbones.timm import TimmBackbone
from lgcn.checks import InputError, check_number, check_positive, shown
from lgcn.modes import eval_mode
from lgcn.typing import Size


def check_backbone(backbone: nn.Module, num_landmarks: int, scheme: str, input_size: Size) -> None:
    """Check the attributes of a backbone and, unless it is one of the package, run it once on two black images.

    Args:
        backbone: the network.
        num_landmarks: K of the scheme.
        scheme: its name, for the message.
        input_size: (H, W) of the images.

    Raises:
        InputError: with the attribute that is missing, or the shapes expected and got.
    """
    if not isinstance(backbone, nn.Module):
        raise InputError(f"Expected 'backbone' to be a network that is built (got {shown(backbone)}).")
    lacking = [name for name in Backbone.__annotations__ if not hasattr(backbone, name)]
    if lacking:
        raise InputError(
            f"Expected 'backbone' to be an lgcn.backbones.Backbone ({type(backbone).__name__} has no "
            f"{', '.join(lacking)}). Wrap your own network in ModuleBackbone."
        )
    network: Any = backbone
    if network.num_landmarks != num_landmarks:
        raise InputError(
            f"Expected a backbone with one heatmap for each of the {num_landmarks} landmarks of '{scheme}' "
            f"(got {network.num_landmarks})."
        )
    for name, check in (("mean", check_number), ("std", check_positive)):
        values = getattr(network, name)
        if not isinstance(values, Sequence) or len(values) != 3:
            raise InputError(f"Expected '{name}' of the backbone as three numbers for RGB (got {shown(values)}).")
        for value in values:
            check(name, value)
    multiple = math.lcm(network.stride, network.size_multiple)
    if any(side % multiple for side in input_size):
        near = tuple(max(1, round(side / multiple)) * multiple for side in input_size)
        raise InputError(f"Expected 'input_size' in multiples of {multiple} (got {input_size}; near: {near}).")
    if not isinstance(backbone, TimmBackbone | HourglassBackbone):
        _try_out(backbone, input_size)


def _try_out(backbone: Any, input_size: Size) -> None:
    like = next(backbone.parameters(), torch.zeros(()))
    if not like.is_floating_point() or like.device.type == "meta":
        return
    name, (height, width) = type(backbone).__name__, input_size
    try:
        with torch.no_grad(), eval_mode(backbone):
            output = backbone(like.new_zeros(2, 3, height, width))
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"Expected 'backbone' to take images [2, 3, {height}, {width}] (got {name}, which raised "
            f"{type(error).__name__}: {' '.join(str(error).split())[:300]}). Correct 'size_multiple' if it cannot take "
            "this size."
        ) from error
    heatmaps, features = (getattr(output, each, None) for each in ("heatmaps", "features"))
    if not isinstance(heatmaps, Tensor) or not isinstance(features, Tensor):
        raise InputError(
            f"Expected 'backbone' to return an lgcn.typing.HeatmapOutput (got {type(output).__name__} of {name}). Wrap "
            "your own network in ModuleBackbone."
        )
    expected = (2, backbone.num_landmarks, height // backbone.stride, width // backbone.stride)
    if heatmaps.shape != expected:
        raise InputError(
            f"Expected 'backbone' to return heatmaps [B, K, H / {backbone.stride}, W / {backbone.stride}], "
            f"{list(expected)} for images [2, 3, {height}, {width}] (got {list(heatmaps.shape)} of {name}). Correct "
            "its 'stride' or 'num_landmarks'."
        )
    if features.dim() != 4 or features.shape[:2] != (2, backbone.feature_channels):
        raise InputError(
            f"Expected 'backbone' to return features [2, {backbone.feature_channels}, h, w] (got "
            f"{list(features.shape)} of {name}). Correct its 'feature_channels'."
        )
