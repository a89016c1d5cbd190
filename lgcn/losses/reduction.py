"""Shared helpers of losses: precision, and the mean over weighted landmarks."""

import torch
from torch import Tensor

from lgcn.checks import check_floating, check_shape, check_values


def check_maps(logits: Tensor, target: Tensor) -> None:
    """Raise :class:`InputError` unless both are heatmaps of one shape, and ``logits`` are floats."""
    check_shape("logits", logits, "B K h w")
    check_floating("logits", logits)
    B, K, h, w = logits.shape
    check_shape("target", target, "B K h w", B=B, K=K, h=h, w=w)
    check_values(logits, target=target)


def at_least_float32(tensor: Tensor) -> Tensor:
    """Convert half precision, in which 1 - 1e-4 is 1, to float32."""
    return tensor.float() if torch.finfo(tensor.dtype).bits < 32 else tensor


def landmark_weight(weight: Tensor | None, like: Tensor) -> Tensor:
    """Return ``weight`` [B, K] (None: all 1) in the type and on the device of ``like`` [B, K, ...]."""
    if weight is None:
        return like.new_ones(like.shape[:2])
    check_shape("weight", weight, "B K", B=like.shape[0], K=like.shape[1])
    check_values(like, weight=weight)
    return weight.to(like)


def weighted_sum(values: Tensor, weight: Tensor) -> Tensor:
    """Return the sum of ``weight * values``, both [B, K]; values of weight 0 are ignored, even if they are NaN."""
    return torch.where(weight > 0, weight * values, 0.0).sum()


def divide_or_zero(total: Tensor, count: Tensor) -> Tensor:
    """Return ``total / count``, or ``total`` (a zero with a gradient) if the count is 0."""
    return total / torch.where(count > 0, count, 1.0)
