"""Metrics of landmark detectors as functions of one error per image.

All errors and rates are fractions: an error of 0.034 is an NME of 3.4 %.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real

import torch
from torch import Tensor

from lgcn.checks import InputError, check_floating, check_number, check_shape, check_values, shown
from lgcn.registry import Registry

METRICS: Registry[Callable[[Tensor], Tensor | float]] = Registry("metric")
"""Name to a function of the errors of landmarks [N, K] that returns one number; ``lgcn evaluate`` reports them all.

Errors are fractions, and NaN where a landmark is not annotated; a name says its unit (``"worst_percent"``). NME, FR and
AUC, which are always reported, have options and are not in here.
"""


def landmark_errors(preds: Tensor, target: Tensor, normalizer: Tensor, visibility: Tensor | None = None) -> Tensor:
    r"""Error of each landmark, :math:`\lVert \hat v_k - v_k \rVert_2 / d`.

    Args:
        preds: [B, K, 2]. NaN or infinity at a visible landmark is an infinite error, not a missing one.
        target: [B, K, 2], same unit; may be NaN where not visible.
        normalizer: [B], the distance d in that unit, for instance between the outer eye corners.
        visibility: [B, K], 0 where a landmark is missing; all are visible if None.

    Returns:
        [B, K], fractions, at least float32; NaN where not visible.

    Raises:
        InputError: if the shapes don't fit each other, the normaliser of an image with visible
            landmarks is NaN, infinite or not positive, or a visible landmark of ``target`` is not finite.
    """
    check_shape("preds", preds, "B K 2")
    B, K, _ = preds.shape
    check_shape("target", target, "B K 2", B=B, K=K)
    check_shape("normalizer", normalizer, "B", B=B)
    check_values(preds=preds, target=target, normalizer=normalizer, visibility=visibility)
    visible = torch.ones(B, K, dtype=torch.bool, device=preds.device)
    if visibility is not None:
        check_shape("visibility", visibility, "B K", B=B, K=K)
        visible = visibility.to(preds.device) > 0
    unusable = visible.any(dim=1) & ~(normalizer.isfinite() & (normalizer > 0)).to(visible.device)
    if unusable.any():
        image = int(unusable.nonzero()[0])
        raise InputError(
            "Expected 'normalizer' to hold finite distances above 0 "
            f"(got {float(normalizer[image])} for image {image} of {B}). Check the annotation of that image."
        )
    precision = torch.promote_types(preds.dtype, torch.float32)
    # Converted before it is moved: some accelerators have no float64.
    target = target.to(precision).to(preds.device)
    absent = visible & ~target.isfinite().all(dim=-1)
    if absent.any():
        image, landmark = absent.nonzero()[0].tolist()
        raise InputError(
            f"Expected 'target' to be finite where a landmark is visible (got {target[image, landmark].tolist()} "
            f"at image {image}, landmark {landmark}). Give a 'visibility' of 0 where a landmark is missing."
        )
    distance = (preds.to(precision) - target).norm(dim=-1).nan_to_num(nan=torch.inf, posinf=torch.inf)
    return (distance / normalizer.to(distance.dtype).to(distance.device)[:, None]).masked_fill(~visible, torch.nan)


def normalized_mean_error(
    preds: Tensor, target: Tensor, normalizer: Tensor, visibility: Tensor | None = None
) -> Tensor:
    r"""Error of each image, :math:`\frac{1}{K d} \sum_k \lVert \hat v_k - v_k \rVert_2`.

    The mean is over the landmarks of an image that are visible, then (by the caller) over images:
    the 300-W and WFLW convention. An image without a visible landmark has no error: NaN here,
    and left out of every mean by :func:`failure_rate`, :func:`auc_ced` and the metric classes.

    Args:
        preds: [B, K, 2], see :func:`landmark_errors`.
        target: [B, K, 2], same unit.
        normalizer: [B], same unit.
        visibility: [B, K], 0 where a landmark is missing.

    Returns:
        [B], fractions (0.034 is an NME of 3.4 %), at least float32.

    Raises:
        InputError: as :func:`landmark_errors` does.
    """
    return landmark_errors(preds, target, normalizer, visibility).nanmean(dim=1)


def failure_rate(errors: Tensor, threshold: float = 0.10) -> Tensor:
    """Fraction of images whose error is strictly greater than ``threshold``.

    Args:
        errors: [N], from :func:`normalized_mean_error`; NaN entries are left out.
        threshold: a fraction, as the errors are.

    Returns:
        A scalar in [0, 1]; NaN if there is no error.
    """
    errors = _measured(errors, threshold)
    return (errors > threshold).to(errors).mean()


def auc_ced(errors: Tensor, threshold: float = 0.10) -> Tensor:
    r"""Area under the cumulative error distribution up to ``threshold``, divided by ``threshold``.

    Closed form: the integral of the step function :math:`CED(x) = \frac{1}{N} \#\{e_n \le x\}`
    is :math:`\frac{1}{N} \sum_n \max(0, t - e_n)`. Public evaluators sample the curve in steps of
    1e-4 and use Simpson's rule; that differs by some 1e-5.

    Args:
        errors: [N], from :func:`normalized_mean_error`; NaN entries are left out.
        threshold: a fraction, as the errors are.

    Returns:
        A scalar in [0, 1]; NaN if there is no error.
    """
    errors = _measured(errors, threshold)
    return (threshold - errors).clamp(min=0.0).mean() / threshold


def error_percentiles(errors: Tensor, percents: Sequence[float] = (90, 95, 99)) -> Tensor:
    """Percentiles of the errors of images, interpolated between the two nearest errors.

    Args:
        errors: [N], from :func:`normalized_mean_error`; NaN entries are left out.
        percents: in 0 ... 100.

    Returns:
        [len(percents)], fractions as ``errors``; NaN if there is no error, infinite where infinite errors start.
    """
    check_shape("errors", errors, "N")
    check_values(errors=errors)
    percents = _check_percents(percents)
    errors = errors.to(torch.promote_types(errors.dtype, torch.float32))
    errors = errors[~errors.isnan()].sort().values
    if not len(errors):
        return errors.new_full((len(percents),), torch.nan)
    # On the CPU: some accelerators have no float64.
    place = (len(errors) - 1) * torch.tensor(percents, dtype=torch.float64) / 100
    low, high = (errors[each.long().to(errors.device)] for each in (place.floor(), place.ceil()))
    # Infinity minus infinity is NaN.
    return torch.where(low == high, low, low + (high - low) * (place % 1).to(errors.dtype).to(errors.device))


def cumulative_error_distribution(errors: Tensor, thresholds: Tensor) -> Tensor:
    r"""Fraction of images with an error of at most each threshold, :math:`CED(x) = \frac{1}{N} \#\{e_n \le x\}`.

    Args:
        errors: [N], from :func:`normalized_mean_error`; NaN entries are left out.
        thresholds: [T], fractions.

    Returns:
        [T], in [0, 1]; NaN if there is no error.
    """
    check_shape("errors", errors, "N")
    check_shape("thresholds", thresholds, "T")
    check_floating("thresholds", thresholds)
    check_values(errors=errors, thresholds=thresholds)
    errors = errors[~errors.isnan()].to(thresholds).sort().values
    return torch.searchsorted(errors, thresholds, right=True).to(thresholds) / len(errors)


def _check_percents(percents: Sequence[float]) -> list[float]:
    """Return percents as a list, else raise :class:`InputError`."""
    if not isinstance(percents, Iterable) or isinstance(percents, str | Mapping):
        raise InputError(f"Expected 'percents' to be a sequence of numbers (got {shown(percents)}).")
    numbers = [float(check_number("percents", percent)) for percent in percents]
    if not all(0 <= number <= 100 for number in numbers):
        raise InputError(f"Expected 'percents' to lie in 0 ... 100 (got {numbers}).")
    return numbers


def check_threshold(threshold: float) -> float:
    """Return ``threshold`` if it is a fraction: passing 8 (%) for 0.08 is a common mistake."""
    if isinstance(threshold, bool) or not isinstance(threshold, Real) or not 0 < threshold <= 1:
        raise InputError(
            f"Expected 'threshold' to be a fraction of the normalising distance, above 0 and at most 1 "
            f"(got {shown(threshold)}). 10 % is 0.10."
        )
    return threshold


def _measured(errors: Tensor, threshold: float) -> Tensor:
    check_shape("errors", errors, "N")
    check_values(errors=errors)
    check_threshold(threshold)
    errors = errors.to(torch.promote_types(errors.dtype, torch.float32))
    return errors[~errors.isnan()]
