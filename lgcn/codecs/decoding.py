"""Decoders: functions that read one position from each heatmap.

All take ``values`` [B, K, h, w], which are not negative (except for :func:`hrnet`), and ``peak`` [B, K, 2], the integer
cell of the largest value (x first). They return positions [B, K, 2] in cells. Only :func:`soft_argmax` is
differentiable.

Weighted sums are elementwise products and sums. Autocast would compute matrix products and convolutions in half
precision: at cell 60 bfloat16 has steps of a quarter of a cell.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lgcn.registry import Registry


def find_peaks(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the integer cell of the largest value of each map [B, K, 2], x first, and that value [B, K]."""
    width = values.shape[-1]
    flat = values.flatten(2)
    cell = flat.argmax(dim=-1)
    peak = torch.stack([cell % width, torch.div(cell, width, rounding_mode="floor")], dim=-1)
    return peak, flat.gather(-1, cell.unsqueeze(-1)).squeeze(-1)


def gather_window(values: Tensor, peak: Tensor, radius: int) -> Tensor:
    """Return the (2r+1) x (2r+1) cells around each peak, [B, K, 2r+1, 2r+1]; 0 outside the map."""
    height, width = values.shape[-2:]
    reach = torch.arange(-radius, radius + 1, device=values.device)
    xs, ys = peak[..., 0, None] + reach, peak[..., 1, None] + reach
    outside = ((ys < 0) | (ys >= height)).unsqueeze(-1) | ((xs < 0) | (xs >= width)).unsqueeze(-2)
    cells = ys.clamp(0, height - 1).unsqueeze(-1) * width + xs.clamp(0, width - 1).unsqueeze(-2)
    window = values.flatten(2).gather(-1, cells.flatten(2)).unflatten(-1, cells.shape[-2:])
    return window.masked_fill(outside, 0.0)


def _from_border(values: Tensor, peak: Tensor) -> Tensor:
    """Return the distance in cells from each peak to the nearer border on each axis, [B, K, 2]."""
    height, width = values.shape[-2:]
    return torch.minimum(peak, peak.new_tensor([width - 1, height - 1]) - peak)


def argmax(values: Tensor, peak: Tensor, sigma: float) -> Tensor:
    """Return the integer cell of the peak."""
    return peak.to(values.dtype)


def _quarter_step(values: Tensor, peak: Tensor) -> Tensor:
    window = gather_window(values.detach(), peak, 1)
    slope = torch.stack([window[..., 1, 2] - window[..., 1, 0], window[..., 2, 1] - window[..., 0, 1]], dim=-1)
    return 0.25 * slope.sign()


def quarter(values: Tensor, peak: Tensor, sigma: float) -> Tensor:
    """Move the peak by a quarter of a cell towards its larger neighbour on each axis; not at a border."""
    return peak + _quarter_step(values, peak) * (_from_border(values, peak) > 0)


def hrnet(values: Tensor, peak: Tensor, sigma: float) -> Tensor:
    """Decode as the public HRNet facial code does: a step of a quarter of a cell on both axes, or on neither.

    There is no step if the peak lies at a border. A map without a positive value gives (-1, -1): that code counts
    cells from 1 and returns 0. :func:`lgcn.codecs.truncate_to_image` is that code's last step.
    """
    step = _quarter_step(values, peak) * (_from_border(values, peak) > 0).all(dim=-1, keepdim=True)
    is_seen = gather_window(values.detach(), peak, 0).flatten(2) > 0
    return torch.where(is_seen, peak + step, -1.0)


def dark(values: Tensor, peak: Tensor, sigma: float) -> Tensor:
    r"""Distribution-aware decoding: one Newton step on the log of the smoothed map, :math:`-H^{-1} g`.

    From Zhang et al., "Distribution-aware coordinate representation for human pose estimation", CVPR 2020. The map is
    smoothed with the Gaussian of the targets, because second differences amplify noise. There is no step if the
    curvature is not that of a maximum, or, as in the authors' code, less than two cells from the border.
    """
    radius = math.ceil(2 * sigma)
    reach = torch.arange(-radius, radius + 1, device=values.device, dtype=torch.float32)
    kernel = torch.exp(-reach.square() / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    with torch.no_grad():
        # Only the cells that the 3 x 3 differences read are smoothed, not the whole map.
        window = gather_window(values.float(), peak, radius + 1)
        rows = (window.unfold(-1, len(kernel), 1) * kernel).sum(dim=-1)
        log = (rows.unfold(-2, len(kernel), 1) * kernel).sum(dim=-1).clamp_min(1e-10).log()
        dx = (log[..., 1, 2] - log[..., 1, 0]) / 2
        dy = (log[..., 2, 1] - log[..., 0, 1]) / 2
        dxx = log[..., 1, 2] - 2 * log[..., 1, 1] + log[..., 1, 0]
        dyy = log[..., 2, 1] - 2 * log[..., 1, 1] + log[..., 0, 1]
        dxy = (log[..., 2, 2] - log[..., 2, 0] - log[..., 0, 2] + log[..., 0, 0]) / 4
        determinant = dxx * dyy - dxy * dxy
        is_peak = (determinant > 1e-12) & (dxx < 0) & (_from_border(values, peak) > 1).all(dim=-1)
        step = torch.stack([dyy * dx - dxy * dy, dxx * dy - dxy * dx], dim=-1)
        step = step / torch.where(is_peak, determinant, 1.0).unsqueeze(-1)
        step = torch.where(is_peak.unsqueeze(-1), step.clamp(-1, 1), 0.0)
        return peak - step.to(values.dtype)


def soft_argmax(values: Tensor, peak: Tensor, sigma: float) -> Tensor:
    r"""Return the mean position :math:`\sum_u u\, v(u) / \sum_u v(u)`, which is differentiable."""
    height, width = values.shape[-2:]
    xs = torch.arange(width, device=values.device, dtype=values.dtype)
    ys = torch.arange(height, device=values.device, dtype=values.dtype)
    columns, rows = values.sum(dim=-2), values.sum(dim=-1)
    total = rows.sum(dim=-1).clamp_min(torch.finfo(values.dtype).tiny)
    return torch.stack([(columns * xs).sum(dim=-1), (rows * ys).sum(dim=-1)], dim=-1) / total.unsqueeze(-1)


DECODERS: Registry[Callable[[Tensor, Tensor, float], Tensor]] = Registry("decode")
"""name -> ``(values [B, K, h, w], peak [B, K, 2], sigma)`` to positions [B, K, 2], all in cells of the heatmap."""

DECODERS.register("argmax", argmax)
DECODERS.register("quarter", quarter)
DECODERS.register("dark", dark)
DECODERS.register("softargmax", soft_argmax)
DECODERS.register("hrnet", hrnet)
