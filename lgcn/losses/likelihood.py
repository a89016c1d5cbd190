"""Likelihood of landmarks under predicted Gaussian errors."""

import math

import torch
from torch import Tensor

from lgcn.checks import check_floating, check_shape, check_values
from lgcn.losses.reduction import at_least_float32, divide_or_zero, landmark_weight, weighted_sum


def gaussian_nll_loss(
    preds: Tensor, target: Tensor, covariance: Tensor, weight: Tensor | None = None, eps: float = 1e-4
) -> Tensor:
    r"""Negative log-likelihood of landmarks whose errors are Gaussian with a predicted covariance.

    .. math::
        L = \frac{1}{2 N} \sum_i \bigl( \mathbf{d}_i^\top \mathbf{V}_i^{-1} \mathbf{d}_i
        + \ln \det \mathbf{V}_i + 2 \ln 2\pi \bigr), \qquad \mathbf{d}_i = \hat{\mathbf{v}}_i - \mathbf{v}_i

    It is smallest where :math:`\mathbf{V}_i` is the mean of :math:`\mathbf{d}_i \mathbf{d}_i^\top`. The form is that of
    :class:`torch.nn.GaussianNLLLoss`, with full 2 x 2 covariances. Kendall and Gal, "What uncertainties do we need in
    Bayesian deep learning for computer vision?", NIPS 2017.

    Detach ``preds`` to train the covariance alone: otherwise errors of landmarks that are believed to be uncertain
    count less, and positions of hard landmarks get worse (Seitzer et al., ICLR 2022).

    Args:
        preds: [B, K, 2].
        target: [B, K, 2], in the unit of ``preds``; may be NaN where ``weight`` is 0.
        covariance: [B, K, 2, 2], symmetric and positive semidefinite, in the squared unit of ``preds``; not read where
            ``weight`` is 0.
        weight: [B, K], 0 leaves a landmark out. None: all count.
        eps: added to both variances, so that a covariance of 0 has a likelihood.

    Returns:
        A scalar, at least float32; 0, with a gradient of 0, where no landmark counts. It may be negative.

    Raises:
        InputError: if the shapes don't fit each other.
    """
    check_shape("preds", preds, "B K 2")
    B, K, _ = preds.shape
    check_shape("target", target, "B K 2", B=B, K=K)
    check_shape("covariance", covariance, "B K 2 2", B=B, K=K)
    for name, tensor in (("preds", preds), ("covariance", covariance)):
        check_floating(name, tensor)
    check_values(preds, target=target, covariance=covariance)
    preds, covariance = at_least_float32(preds), at_least_float32(covariance)
    weight = landmark_weight(weight, preds)
    counts = weight > 0
    # Mask first: a NaN that is masked afterwards is still a NaN in the gradient.
    x, y = torch.where(counts[..., None], preds - target.to(preds), 0.0).unbind(-1)
    a, b, c, d = torch.where(counts[..., None], covariance.flatten(2), covariance.new_tensor([1, 0, 0, 1])).unbind(-1)
    b = (b + c) / 2
    # det(V + eps I), and the distance times it, written so that a large V does not absorb eps.
    det = _not_negative(a * d - b * b) + eps * (a + d + eps)
    distance = (_not_negative(d * x * x - 2 * b * x * y + a * y * y) + eps * (x * x + y * y)) / det
    loss = (distance + det.log()) / 2 + math.log(2 * math.pi)
    return divide_or_zero(weighted_sum(loss, weight), weight.sum())


def _not_negative(value: Tensor) -> Tensor:
    """What only rounding makes negative, with the gradient of ``value``."""
    return value + (value.clamp_min(0) - value).detach()
