"""Losses on landmark coordinates: eq. 7 of the paper and alternatives.

Each is a penalty on the error of one coordinate, added over x and y and averaged over landmarks.
The penalties are separate functions, registered in :data:`COORDINATE_LOSSES`.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lgcn.checks import InputError, check_floating, check_positive, check_shape, check_values, shown
from lgcn.losses.reduction import at_least_float32, divide_or_zero, landmark_weight, weighted_sum
from lgcn.registry import Registry

COORDINATE_LOSSES: Registry[Callable[..., Tensor]] = Registry("coordinate loss")
"""name -> ``penalty(difference, **options)``, of any shape and elementwise: pixels to pixels, 0 at 0.

The coordinate losses of :class:`lgcn.losses.DetectionLoss`; register your own with ``COORDINATE_LOSSES.register``.
"""


@COORDINATE_LOSSES.register("l1")
def l1_penalty(difference: Tensor) -> Tensor:
    """:math:`|d|`."""
    return difference.abs()


@COORDINATE_LOSSES.register("smooth_l1")
def smooth_l1_penalty(difference: Tensor, beta: float = 1.0) -> Tensor:
    """See :func:`smooth_l1_loss`."""
    check_positive("beta", beta)
    return F.smooth_l1_loss(difference, torch.zeros_like(difference), reduction="none", beta=beta)


@COORDINATE_LOSSES.register("wing")
def wing_penalty(difference: Tensor, width: float = 10.0, epsilon: float = 2.0) -> Tensor:
    """See :func:`wing_loss`."""
    check_positive("width", width)
    check_positive("epsilon", epsilon)
    size = difference.abs()
    offset = width - width * math.log1p(width / epsilon)
    return torch.where(size < width, width * (size / epsilon).log1p(), size - offset)


def coordinate_loss(
    penalty: Callable[[Tensor], Tensor],
    preds: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    unit: Tensor | None = None,
) -> Tensor:
    r"""Return the mean over landmarks of a penalty, :math:`\frac{1}{N} \sum_i \sum_{x, y} \mathrm{penalty}(d_i) / u`.

    N is the number of landmarks that count.

    Args:
        penalty: elementwise, of a difference.
        preds: [B, K, 2].
        target: [B, K, 2], in the unit of ``preds``; may be NaN where ``weight`` is 0.
        weight: [B, K], 0 leaves a landmark out. None: all count.
        unit: [2], what the penalties along x and y are divided by. None: 1.

    Returns:
        A scalar, at least float32; 0, with a gradient of 0, where no landmark counts.

    Raises:
        InputError: if the shapes don't fit each other.
    """
    check_shape("preds", preds, "B K 2")
    check_shape("target", target, "B K 2", B=preds.shape[0], K=preds.shape[1])
    check_floating("preds", preds)
    check_values(preds, target=target)
    if not callable(penalty):
        raise InputError(f"Expected 'penalty' to be a function of a difference (got {shown(penalty)}).")
    if unit is not None:
        check_shape("unit", unit, "2")
        check_values(preds, unit=unit)
    preds = at_least_float32(preds)
    weight = landmark_weight(weight, preds)
    # Mask before the penalty: a NaN that is masked after it is still a NaN in the gradient.
    difference = torch.where(weight[..., None] > 0, preds - target.to(preds), 0.0)
    penalties = penalty(difference)
    if unit is not None:
        penalties = penalties / unit.to(penalties)
    return divide_or_zero(weighted_sum(penalties.sum(dim=-1), weight), weight.sum())


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
    return coordinate_loss(l1_penalty, preds, target, weight)


def smooth_l1_loss(preds: Tensor, target: Tensor, weight: Tensor | None = None, beta: float = 1.0) -> Tensor:
    r"""L1 with a rounded tip: the gradient fades out below an error of ``beta`` instead of changing its sign abruptly.

    .. math::
        L = \frac{1}{N} \sum_i \sum_{x, y} \begin{cases} d^2 / 2\beta & |d| < \beta \\ |d| - \beta / 2 &
            \text{otherwise} \end{cases}

    Girshick, "Fast R-CNN", ICCV 2015, where beta is 1. The form is that of :class:`torch.nn.SmoothL1Loss`.

    Args:
        preds: [B, K, 2], in any unit.
        target: [B, K, 2], in the unit of ``preds``; may be NaN where ``weight`` is 0.
        weight: [B, K], 0 leaves a landmark out. None: all count.
        beta: where the square ends, in the unit of ``preds``.

    Returns:
        A scalar, at least float32; 0, with a gradient of 0, where no landmark counts.

    Raises:
        InputError: if the shapes don't fit each other, or ``beta`` is not positive.
    """
    return coordinate_loss(lambda difference: smooth_l1_penalty(difference, beta), preds, target, weight)


def wing_loss(
    preds: Tensor, target: Tensor, weight: Tensor | None = None, width: float = 10.0, epsilon: float = 2.0
) -> Tensor:
    r"""Wing: a logarithm for small errors, whose gradient grows towards 0, and L1 for large ones.

    .. math::
        L = \frac{1}{N} \sum_i \sum_{x, y} \begin{cases} w \ln(1 + |d| / \epsilon) & |d| < w \\ |d| - C &
            \text{otherwise} \end{cases}, \qquad C = w - w \ln(1 + w / \epsilon)

    Feng et al., "Wing loss for robust facial landmark localisation with convolutional neural
    networks", CVPR 2018; w = 10 and epsilon = 2 are theirs, for coordinates in pixels of the input.

    Args:
        preds: [B, K, 2], in pixels of the input.
        target: [B, K, 2], in the unit of ``preds``; may be NaN where ``weight`` is 0.
        weight: [B, K], 0 leaves a landmark out. None: all count.
        width: the paper's w, in the unit of ``preds``.
        epsilon: curvature of the logarithm, in the unit of ``preds``; very small values give gradients of w / epsilon.

    Returns:
        A scalar, at least float32; 0, with a gradient of 0, where no landmark counts.

    Raises:
        InputError: if the shapes don't fit each other, or ``width`` or ``epsilon`` is not positive.
    """
    return coordinate_loss(lambda difference: wing_penalty(difference, width, epsilon), preds, target, weight)
