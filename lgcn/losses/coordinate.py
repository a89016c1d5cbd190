"""Losses on landmark coordinates: eq. 7 of the paper."""

import torch
from torch import Tensor

from lgcn.checks import check_shape
from lgcn.losses.reduction import at_least_float32, divide_or_zero, landmark_weight, weighted_sum


def l1_loss(preds: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    r"""Eq. 7, :math:`L_1 = \frac{1}{N} \sum_i |\hat v_i - v_i|`.

    The bars are the 1-norm of a point, :math:`|\hat x - x| + |\hat y - y|`, and N the number of
    landmarks that count: twice what :class:`torch.nn.L1Loss`, the released code's choice, gives.

    Args:
        preds: [B, K, 2]. The paper's unit is the side of the crop, i.e. coordinates in [0, 1].
        target: [B, K, 2], in the unit of ``preds``; may be NaN where ``weight`` is 0.
        weight: [B, K], 0 leaves a landmark out. None: all count.

    Returns:
        A scalar, at least float32; 0, with a gradient of 0, where no landmark counts.

    Raises:
        InputError: if the shapes don't fit each other.
    """
    check_shape("preds", preds, "B K 2")
    check_shape("target", target, "B K 2", B=preds.shape[0], K=preds.shape[1])
    preds = at_least_float32(preds)
    weight = landmark_weight(weight, preds)
    # Masked before the absolute value: a NaN that is masked after it would still be a NaN in the gradient.
    difference = torch.where(weight[..., None] > 0, preds - target.to(preds), 0.0)
    return divide_or_zero(weighted_sum(difference.abs().sum(dim=-1), weight), weight.sum())
