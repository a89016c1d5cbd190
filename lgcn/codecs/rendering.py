"""Rendering of landmarks as Gaussian heatmaps."""

import torch
from torch import Tensor

from lgcn.checks import check_floating, check_positive, check_shape, check_size
from lgcn.typing import Size


def render_gaussians(centres: Tensor, heatmap_size: Size, sigma: float) -> Tensor:
    r"""Draw unnormalised Gaussians :math:`\exp(-\lVert u - c \rVert^2 / 2\sigma^2)`, one map per landmark.

    A centre on a cell gives exactly 1 there: a positive cell of the focal loss (eq. 8).

    Args:
        centres: [..., K, 2], cells of the heatmap; may lie outside.
        heatmap_size: (h, w).
        sigma: cells.

    Returns:
        [..., K, h, w] in [0, 1].
    """
    check_shape("centres", centres, "... K 2")
    check_floating("centres", centres)
    height, width = check_size("heatmap_size", heatmap_size)
    check_positive("sigma", sigma)
    ys = torch.arange(height, device=centres.device, dtype=centres.dtype) - centres[..., 1:]
    xs = torch.arange(width, device=centres.device, dtype=centres.dtype) - centres[..., :1]
    # The 2-D Gaussian is the outer product of two 1-D ones.
    column, row = (torch.exp(-axis.square() / (2 * sigma**2)) for axis in (ys, xs))
    return column.unsqueeze(-1) * row.unsqueeze(-2)
