"""Batch normalisation by the statistics of what is there."""

import torch
from torch import Tensor, nn


def batch_norm_of(norm: nn.BatchNorm1d, x: Tensor, there: Tensor) -> Tensor:
    """Batch normalisation in training by the statistics of the rows that are there.

    Picking them would make a tensor whose size depends on values, which no compiler follows. Statistics are taken in
    the precision of the running ones, whatever x was rounded to.

    Args:
        norm: whose running statistics move.
        x: [..., C].
        there: booleans that broadcast to [..., 1].

    Returns:
        [..., C], normalised where it is missing too.
    """
    given = x.dtype
    x = x.to(norm.get_buffer("running_mean").dtype)
    there = there.expand(*x.shape[:-1], 1)
    axes = tuple(range(x.dim() - 1))
    count = there.sum().clamp_min(1)
    mean = x.masked_fill(~there, 0.0).sum(axes) / count
    variance = (x - mean).masked_fill(~there, 0.0).square().sum(axes) / count
    with torch.no_grad():
        norm.get_buffer("num_batches_tracked").add_(1)
        norm.get_buffer("running_mean").lerp_(mean, norm.momentum or 0.0)
        norm.get_buffer("running_var").lerp_(variance * count / (count - 1).clamp_min(1), norm.momentum or 0.0)
    return ((x - mean) * (variance + norm.eps).rsqrt() * norm.weight + norm.bias).to(given)
