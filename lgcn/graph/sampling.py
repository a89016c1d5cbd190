"""Sampling of a backbone's features at landmarks."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lgcn.checks import InputError, check_choice, check_devices, check_floating, check_shape, check_size
from lgcn.typing import Size

SAMPLING_MODES = ("bilinear", "nearest")


def sample_features(features: Tensor, pos: Tensor, input_size: Size, mode: str = "bilinear") -> Tensor:
    """Sample a feature map at landmarks.

    Args:
        features: [B, C, h, w], covering the whole input.
        pos: [B, K, 2], pixels of the input; the border's features are used outside it.
        input_size: (H, W) of the input.
        mode: ``"bilinear"`` (differentiable in ``pos`` too) or ``"nearest"``.

    Returns:
        [B, K, C].
    """
    check_shape("features", features, "B C h w")
    check_shape("pos", pos, "B K 2", B=features.shape[0])
    check_choice("mode", mode, SAMPLING_MODES)
    check_floating("features", features)
    check_devices(features.device, "'features'", pos=pos)
    if 0 in features.shape[2:]:
        raise InputError(f"Expected 'features' [B, C, h, w] with cells (got {list(features.shape)}).")
    height, width = check_size("input_size", input_size)
    grid = (pos + 0.5) * (2 / pos.new_tensor([width, height])) - 1
    # A grid of half precision would be off by up to half a pixel of a 256-pixel input.
    dtype = torch.promote_types(features.dtype, grid.dtype)
    sampled = F.grid_sample(
        features.to(dtype), grid.to(dtype).unsqueeze(1), mode=mode, padding_mode="border", align_corners=False
    )
    return sampled.squeeze(2).transpose(1, 2).to(features.dtype)
