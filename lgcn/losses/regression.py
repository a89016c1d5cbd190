"""Losses that compare heatmaps value by value: mean square and Adaptive Wing."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lgcn.checks import InputError, check_flag, check_number, check_positive
from lgcn.losses.reduction import (
    at_least_float32,
    check_maps,
    divide_or_zero,
    landmark_weight,
    weighted_sum,
)

FOREGROUND = 0.2
"""Value of the dilated target from which a cell is foreground (Wang et al. 2019, section 5.2)."""


def heatmap_mse_loss(logits: Tensor, target: Tensor, weight: Tensor | None = None, from_logits: bool = True) -> Tensor:
    r"""Mean squared error of heatmaps, :math:`\frac{1}{N h w} \sum_k \sum_c (\hat Y_{kc} - Y_{kc})^2`.

    With ``from_logits=False`` and all landmarks present it is :class:`torch.nn.MSELoss`, which the
    public HRNet facial networks, whose output is linear, are trained with. N is the number of
    landmarks that count.

    Args:
        logits: [B, K, h, w], logits, or values if ``from_logits`` is false.
        target: [B, K, h, w], Gaussians in [0, 1], anywhere.
        weight: [B, K], 0 leaves a landmark out (missing, or outside the crop). None: all count.
        from_logits: whether to apply the sigmoid. A saturated sigmoid has little gradient here, as
            everywhere where its logarithm is not taken. If false, values are used unchanged, and
            those beyond [0, 1] keep their gradient.

    Returns:
        A scalar, at least float32; 0, with a gradient of 0, where no landmark counts.

    Raises:
        InputError: if the shapes don't fit each other.
    """
    values, target, weight = _prepare(logits, target, weight, from_logits)
    return _mean(F.mse_loss(values, target, reduction="none"), weight)


def adaptive_wing_loss(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    alpha: float = 2.1,
    omega: float = 14.0,
    epsilon: float = 1.0,
    theta: float = 0.5,
    foreground_weight: float = 10.0,
    from_logits: bool = True,
) -> Tensor:
    r"""Adaptive Wing: Wing on cells of the foreground, close to a square on those of the background.

    .. math::
        \mathrm{AWing}(Y, \hat Y) = \begin{cases}
            \omega \ln(1 + |d / \epsilon|^{\alpha - Y}) & |d| < \theta \\ A |d| - C & \text{otherwise} \end{cases},
        \qquad d = Y - \hat Y

    .. math::
        A = \frac{\omega}{\epsilon} \frac{(\alpha - Y) (\theta / \epsilon)^{\alpha - Y - 1}}
            {1 + (\theta / \epsilon)^{\alpha - Y}}, \qquad
        C = \theta A - \omega \ln(1 + (\theta / \epsilon)^{\alpha - Y})

    .. math::
        L = \frac{1}{N h w} \sum_k \sum_c (1 + W M_{kc})\, \mathrm{AWing}(Y_{kc}, \hat Y_{kc})

    M is 1 where the 3 x 3 dilation of the target is 0.2 or more, N the number of landmarks that
    count. Wang et al., "Adaptive wing loss for robust face alignment via heatmap regression",
    ICCV 2019; the defaults are theirs. Many re-implementations, mmpose's among them, leave M out:
    that is ``foreground_weight=0``.

    Args:
        logits: [B, K, h, w], logits, or values if ``from_logits`` is false.
        target: [B, K, h, w], Gaussians in [0, 1], anywhere.
        weight: [B, K], 0 leaves a landmark out (missing, or outside the crop). None: all count.
        alpha: exponent of the background; more than 2, so that the gradient of no cell jumps at an error of 0.
        omega: height of the logarithm.
        epsilon: curvature of the logarithm, in heatmap values.
        theta: error from which the loss is linear, in heatmap values.
        foreground_weight: the paper's W.
        from_logits: whether to apply the sigmoid. If false, values are used unchanged (the
            authors' networks have a linear output), and those beyond [0, 1] keep their gradient.

    Returns:
        A scalar, at least float32; 0, with a gradient of 0, where no landmark counts.

    Raises:
        InputError: if the shapes don't fit each other, or for options out of their range.
    """
    check_positive("alpha", alpha)
    check_positive("omega", omega)
    check_positive("epsilon", epsilon)
    check_positive("theta", theta)
    if not alpha > 2:
        raise InputError(f"Expected 'alpha' to be slightly more than 2 (got {alpha}). The paper's is 2.1.")
    check_number("foreground_weight", foreground_weight, 0)
    values, target, weight = _prepare(logits, target, weight, from_logits)
    exponent = alpha - target
    size = (target - values).abs()
    bend = (theta / epsilon) ** exponent
    slope = omega / theta * exponent * bend / (1 + bend)
    # The branch that is not taken must be finite too, or its gradient of 0 x inf is a NaN.
    curved = omega * ((size.clamp_max(theta) / epsilon) ** exponent).log1p()
    straight = slope * (size - theta) + omega * bend.log1p()
    penalty = torch.where(size < theta, curved, straight)
    if foreground_weight > 0:
        is_foreground = F.max_pool2d(target, 3, stride=1, padding=1) >= FOREGROUND
        penalty = penalty * (1 + foreground_weight * is_foreground)
    return _mean(penalty, weight)


def _prepare(logits: Tensor, target: Tensor, weight: Tensor | None, from_logits: bool) -> tuple[Tensor, Tensor, Tensor]:
    check_maps(logits, target)
    check_flag("from_logits", from_logits)
    logits = at_least_float32(logits)
    return logits.sigmoid() if from_logits else logits, target.to(logits), landmark_weight(weight, logits)


def _mean(penalty: Tensor, weight: Tensor) -> Tensor:
    return divide_or_zero(weighted_sum(penalty.mean(dim=(2, 3)), weight), weight.sum())
