"""Losses on heatmaps as probability distributions over their cells."""

from torch import Tensor

from lgcn.losses.reduction import at_least_float32, check_maps, divide_or_zero, landmark_weight, weighted_sum


def heatmap_cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    r"""Cross entropy between a target distribution and the softmax over all cells of a heatmap.

    .. math::
        L = -\frac{1}{N} \sum_k \sum_c q_{kc} \log p_{kc}, \qquad p_k = \mathrm{softmax}(x_k),
        \quad q_k = Y_k / {\textstyle\sum_c Y_{kc}}

    For networks decoded by soft-argmax. N is the number of landmarks that count; one whose target
    is zero everywhere does not count. Its minimum is the entropy of the target, not 0.

    Args:
        logits: [B, K, h, w].
        target: [B, K, h, w], not negative, of any sum, such as sub-pixel Gaussians.
        weight: [B, K], 0 leaves a landmark out. None: all count.

    Returns:
        A scalar, at least float32; 0, with a gradient of 0, where no landmark counts.

    Raises:
        InputError: if the shapes don't fit each other.
    """
    check_maps(logits, target)
    logits = at_least_float32(logits)
    mass = target.to(logits).flatten(2)
    total = mass.sum(dim=2)
    weight = landmark_weight(weight, logits) * (total > 0)

    log_p = logits.flatten(2).log_softmax(dim=2)
    per_landmark = -divide_or_zero((mass * log_p).sum(dim=2), total)
    return divide_or_zero(weighted_sum(per_landmark, weight), weight.sum())
