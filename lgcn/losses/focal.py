"""Penalty-reduced focal loss on Gaussian heatmaps: eq. 8 of the paper."""

import torch.nn.functional as F
from torch import Tensor

from lgcn.checks import check_flag, check_number
from lgcn.losses.reduction import at_least_float32, check_maps, divide_or_zero, landmark_weight, weighted_sum

CLAMP = 1e-4
"""Distance from 0 and 1 to which values (not logits) are clamped, as in CenterNet and the released code."""


def focal_heatmap_loss(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    alpha: float = 2.0,
    beta: float = 4.0,
    from_logits: bool = True,
) -> Tensor:
    r"""Eq. 8, the focal loss of CornerNet and CenterNet.

    .. math::
        L_2 = -\frac{1}{N} \sum \begin{cases} (1-\hat Y)^\alpha \log \hat Y & Y = 1 \\
              (1-Y)^\beta \hat Y^\alpha \log(1-\hat Y) & \text{otherwise} \end{cases}

    N is the number of landmarks in the batch that count and have a cell with Y = 1, so the loss
    is a mean over landmarks. Only cells where the target is exactly 1 are positive: targets must
    be drawn around integer cells. If no landmark is positive, the sum is not divided (as in
    CenterNet); if none counts, the loss is 0.

    From logits, logarithms are computed directly, so that saturated cells keep their gradient. Half precision is
    computed in float32.

    Args:
        logits: [B, K, h, w], logits, or values if ``from_logits`` is false.
        target: [B, K, h, w], Gaussians in [0, 1] that are 1 at their centre cell.
        weight: [B, K], 0 leaves a landmark out (missing, or outside the crop). None: all count.
        alpha: exponent that reduces the loss of cells that are predicted well.
        beta: exponent that reduces the loss of background cells near a landmark.
        from_logits: whether to apply the sigmoid. If false, values are clamped to
            [1e-4, 1 - 1e-4] as in the released code, and have no gradient outside.

    Returns:
        A scalar, at least float32.

    Raises:
        InputError: if the shapes don't fit each other.
    """
    check_maps(logits, target)
    check_number("alpha", alpha, 0)
    check_number("beta", beta, 0)
    check_flag("from_logits", from_logits)
    logits = at_least_float32(logits)
    target = target.to(logits)
    weight = landmark_weight(weight, logits)

    if from_logits:
        log_p, log_not_p = F.logsigmoid(logits), F.logsigmoid(-logits)
    else:
        values = logits.clamp(CLAMP, 1 - CLAMP)
        log_p, log_not_p = values.log(), (-values).log1p()
    is_centre = target == 1
    at_centre = (alpha * log_not_p).exp() * log_p
    elsewhere = (1 - target) ** beta * (alpha * log_p).exp() * log_not_p
    per_landmark = -at_centre.where(is_centre, elsewhere).sum(dim=(2, 3))

    has_centre = is_centre.flatten(2).any(dim=2)
    return divide_or_zero(weighted_sum(per_landmark, weight), weighted_sum(has_centre.to(weight), weight))
