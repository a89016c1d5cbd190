"""Metrics of landmark detectors as torchmetrics, accumulated over batches and processes; all fractions."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.utilities import dim_zero_cat

from lgcn.checks import InputError, check_at_least, check_choice, check_shape
from lgcn.metrics.functional import check_threshold, error_percentiles, landmark_errors
from lgcn.schemes import LandmarkScheme, get_scheme, normalizing_distance


class _NormalizedMetric(Metric):
    """Errors divided by a normalising distance, which is given with each batch or computed from the target."""

    full_state_update = False
    is_differentiable = False

    def __init__(
        self, scheme: str | LandmarkScheme | None = None, normalizer: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if scheme is None and normalizer is not None:
            raise InputError(
                f"Expected 'scheme' with a 'normalizer', whose landmarks it measures (got '{normalizer}')."
            )
        self.scheme = None if scheme is None else get_scheme(scheme)
        if self.scheme is not None:
            normalizer = self.scheme.default_normalizer if normalizer is None else normalizer
            check_choice("normalizer", normalizer, self.scheme.normalizer_names)
        self.normalizer = normalizer

    def _landmark_errors(
        self, preds: Tensor, target: Tensor, normalizer: Tensor | None, visibility: Tensor | None
    ) -> Tensor:
        """[B, K], see :func:`~lgcn.metrics.landmark_errors`."""
        if normalizer is None:
            if self.scheme is None:
                raise InputError(
                    f"Expected 'normalizer' with every batch, or a 'scheme' when {type(self).__name__} is built (got "
                    "neither)."
                )
            check_shape("preds", preds, "B K 2")
            check_shape("target", target, "B K 2", B=len(preds))
            normalizer = normalizing_distance(target, self.scheme, self.normalizer, visibility)
        return landmark_errors(preds, target, normalizer, visibility)


class LandmarkMetric(_NormalizedMetric):
    """Mean over images of a function of their error.

    The state is a sum and a count of images, so the result does not depend on batches or processes. Images without a
    visible landmark are not counted.
    ``update(preds, target, normalizer, visibility=None)`` takes the arguments of
    :func:`~lgcn.metrics.normalized_mean_error`; ``compute()`` is NaN before the first image.

    Override :meth:`per_image` for your own metric.

    Args:
        scheme: name of a landmark scheme, or one. ``update(preds, target, visibility=...)`` then computes the
            normalising distance from ``target`` itself.
        normalizer: its name, ``"inter_ocular"``, ``"inter_pupil"`` or ``"box"``; the scheme's own if None.
        **kwargs: arguments of :class:`torchmetrics.Metric`.

    Raises:
        InputError: for a normaliser that the scheme does not have, or one without a scheme.
    """

    total: Tensor
    count: Tensor

    def __init__(
        self, scheme: str | LandmarkScheme | None = None, normalizer: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(scheme, normalizer, **kwargs)
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def per_image(self, errors: Tensor) -> Tensor:
        """The values [N] that are averaged, from ``errors`` [N] without NaN."""
        return errors

    def reduce_landmarks(self, errors: Tensor) -> Tensor:
        """One value for each image [B], from errors [B, K] that are NaN where there is no landmark; their mean."""
        return errors.nanmean(dim=1)

    def update(
        self, preds: Tensor, target: Tensor, normalizer: Tensor | None = None, visibility: Tensor | None = None
    ) -> None:
        errors = self.reduce_landmarks(self._landmark_errors(preds, target, normalizer, visibility))
        errors = _like(errors[~errors.isnan()], self.total)
        self.total += self.per_image(errors).sum()
        self.count += errors.numel()

    def compute(self) -> Tensor:
        return self.total / self.count


class NormalizedMeanError(LandmarkMetric):
    """NME as a fraction, :func:`~lgcn.metrics.normalized_mean_error` averaged over images; lower is better."""

    higher_is_better = False


class _ThresholdMetric(LandmarkMetric):
    def __init__(self, threshold: float = 0.10, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.threshold = check_threshold(threshold)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(threshold={self.threshold:g})"


class FailureRate(_ThresholdMetric):
    """Fraction of images whose NME is strictly greater than ``threshold``; see :func:`~lgcn.metrics.failure_rate`."""

    higher_is_better = False

    def per_image(self, errors: Tensor) -> Tensor:
        return (errors > self.threshold).to(errors)


class AUCCED(_ThresholdMetric):
    """Area under the cumulative error distribution up to ``threshold``; see :func:`~lgcn.metrics.auc_ced`."""

    higher_is_better = True

    def per_image(self, errors: Tensor) -> Tensor:
        return (self.threshold - errors).clamp(min=0.0) / self.threshold


class PerLandmarkError(_NormalizedMetric):
    r"""NME of each landmark [K], :math:`\frac{1}{N_k} \sum_n \lVert \hat v_{nk} - v_{nk} \rVert_2 / d_n`.

    The mean is over the :math:`N_k` images in which landmark k is visible; NaN if there is none.
    ``update`` takes the arguments of :class:`LandmarkMetric`.

    Args:
        num_landmarks: K; the scheme's if None.
        scheme: see :class:`LandmarkMetric`.
        normalizer: see :class:`LandmarkMetric`.
        **kwargs: arguments of :class:`torchmetrics.Metric`.
    """

    higher_is_better = False
    total: Tensor
    count: Tensor

    def __init__(
        self,
        num_landmarks: int | None = None,
        scheme: str | LandmarkScheme | None = None,
        normalizer: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(scheme, normalizer, **kwargs)
        if num_landmarks is None:
            if self.scheme is None:
                raise InputError("Expected 'num_landmarks' or 'scheme' (got neither).")
            num_landmarks = self.scheme.num_landmarks
        check_at_least("num_landmarks", num_landmarks, 1)
        self.add_state("total", torch.zeros(num_landmarks), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(num_landmarks, dtype=torch.long), dist_reduce_fx="sum")

    def update(
        self, preds: Tensor, target: Tensor, normalizer: Tensor | None = None, visibility: Tensor | None = None
    ) -> None:
        check_shape("preds", preds, "B K 2", K=len(self.total))
        errors = _like(self._landmark_errors(preds, target, normalizer, visibility), self.total)
        self.total += errors.nansum(dim=0)
        self.count += (~errors.isnan()).sum(dim=0)

    def compute(self) -> Tensor:
        return self.total / self.count


class ErrorPercentiles(_NormalizedMetric):
    """Percentiles [P] of the NME of images, see :func:`~lgcn.metrics.error_percentiles`.

    Percentiles cannot be accumulated: the state is the error of every image, gathered from all processes.
    ``update`` takes the arguments of :class:`LandmarkMetric`.

    Args:
        percents: in 0 ... 100.
        scheme: see :class:`LandmarkMetric`.
        normalizer: see :class:`LandmarkMetric`.
        **kwargs: arguments of :class:`torchmetrics.Metric`.
    """

    higher_is_better = False
    errors: list[Tensor]

    def __init__(
        self,
        percents: Sequence[float] = (90, 95, 99),
        scheme: str | LandmarkScheme | None = None,
        normalizer: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(scheme, normalizer, **kwargs)
        error_percentiles(torch.zeros(1), percents)
        self.percents = tuple(percents)
        self.add_state("errors", [], dist_reduce_fx="cat")

    def update(
        self, preds: Tensor, target: Tensor, normalizer: Tensor | None = None, visibility: Tensor | None = None
    ) -> None:
        self.errors.append(self._landmark_errors(preds, target, normalizer, visibility).nanmean(dim=1))

    def compute(self) -> Tensor:
        errors = dim_zero_cat(self.errors) if len(self.errors) else torch.empty(0)
        return error_percentiles(errors, self.percents)


def _like(errors: Tensor, state: Tensor) -> Tensor:
    """``errors`` in the type of ``state``, then on its device: some accelerators have no float64."""
    return errors.to(state.dtype).to(state.device)


def landmark_metrics(threshold: float = 0.10, prefix: str | None = None, **options: Any) -> MetricCollection:
    """NME, FR and AUC in one collection, with the keys "nme", "fr" and "auc"; all are fractions.

    Args:
        threshold: threshold of FR and AUC, a fraction.
        prefix: prefix of the keys.
        **options: arguments of :class:`LandmarkMetric`, for instance ``scheme``.
    """
    # torchmetrics would share one state between metrics whose states are equal after the first batch. Those of FR and
    # AUC are (both 0) if that batch has no visible landmark.
    return MetricCollection(
        {
            "nme": NormalizedMeanError(**options),
            "fr": FailureRate(threshold, **options),
            "auc": AUCCED(threshold, **options),
        },
        prefix=prefix,
        compute_groups=False,
    )
