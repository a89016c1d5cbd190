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
    if mode == "bilinear" and torch.compiler.is_exporting():
        return _gather_bilinear(features, pos, (height, width))
    grid = (pos + 0.5) * (2 / pos.new_tensor([width, height])) - 1
    # A grid of half precision would be off by up to half a pixel of a 256-pixel input.
    dtype = torch.promote_types(features.dtype, grid.dtype)
    sampled = F.grid_sample(
        features.to(dtype), grid.to(dtype).unsqueeze(1), mode=mode, padding_mode="border", align_corners=False
    )
    return sampled.squeeze(2).transpose(1, 2).to(features.dtype)


def _gather_bilinear(features: Tensor, pos: Tensor, input_size: Size) -> Tensor:
    """The same from four gathered cells: ONNX Runtime's GridSample takes several times as long."""
    h, w = features.shape[-2:]
    last = pos.new_tensor([w - 1, h - 1])
    cell = (pos + 0.5) * (pos.new_tensor([w, h]) / pos.new_tensor([input_size[1], input_size[0]])) - 0.5
    cell = cell.clamp_min(0).minimum(last)
    low = cell.floor()
    (x0, y0), (x1, y1), (right, below) = (each.unbind(-1) for each in (low, (low + 1).minimum(last), cell - low))
    places = torch.stack([y0 * w + x0, y0 * w + x1, y1 * w + x0, y1 * w + x1], dim=-1).long()
    shares = [(1 - below) * (1 - right), (1 - below) * right, below * (1 - right), below * right]
    index = places.flatten(1).unsqueeze(1).expand(-1, features.shape[1], -1)
    cells = features.flatten(2).gather(-1, index).unflatten(-1, places.shape[-2:])
    return (cells * torch.stack(shares, dim=-1).unsqueeze(1)).sum(dim=-1).transpose(1, 2).to(features.dtype)
