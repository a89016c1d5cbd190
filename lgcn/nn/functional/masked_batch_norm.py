"""Batch normalisation by the statistics of what is there."""

import torch
from torch import Tensor, nn


def batch_norm_of(norm: nn.BatchNorm1d, x: Tensor, there: Tensor) -> Tensor:
    """Batch normalisation in training by the statistics of the rows that are there.

    Picking them would make a tensor whose size depends on values, which no compiler follows. Statistics are taken in
    the precision of the running ones, whatever x was rounded to. Where no row is there the running ones stay.

    Args:
        norm: whose running statistics move.
        x: [..., C].
        there: what broadcasts to [..., 1]: booleans, or how often each row counts, 0 or more.

    Returns:
        [..., C], normalised where it is missing too.
    """
    given = x.dtype
    x = x.to(norm.get_buffer("running_mean").dtype)
    there = there.expand(*x.shape[:-1], 1)
    missing = there == 0
    axes = tuple(range(x.dim() - 1))
    total = there.sum()
    count = total.masked_fill(total == 0, 1)

    def mean_of(values: Tensor) -> Tensor:
        values = values.masked_fill(missing, 0.0)
        return (values if there.dtype == torch.bool else values * there).sum(axes) / count

    mean = mean_of(x)
    variance = mean_of((x - mean).square())
    with torch.no_grad():
        momentum = (total > 0).to(mean.dtype) * (norm.momentum or 0.0)
        norm.get_buffer("num_batches_tracked").add_(total > 0)
        norm.get_buffer("running_mean").lerp_(mean, momentum)
        norm.get_buffer("running_var").lerp_(variance * count / (count - 1).clamp_min(1), momentum)
    return ((x - mean) * (variance + norm.eps).rsqrt() * norm.weight + norm.bias).to(given)
