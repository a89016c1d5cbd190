"""The same three figures as torchmetrics: sums and counts, which add up over batches and processes."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from lgcn.metrics.functional import check_threshold, normalized_mean_error


class LandmarkMetric(Metric):
    """Mean over images of some function of their error.

    The state is two numbers, the sum and the count of images, so streaming equals one-shot and
    several processes equal one. Images without a visible landmark are not counted.
    ``update(preds, target, normalizer, visibility=None)`` takes the arguments of
    :func:`~lgcn.metrics.normalized_mean_error`; ``compute()`` is NaN before the first image.

    A metric of your own overrides :meth:`per_image`.
    """

    full_state_update = False
    is_differentiable = False
    total: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def per_image(self, errors: Tensor) -> Tensor:
        """``errors`` [N], none NaN -> what is averaged, [N]."""
        return errors

    def update(self, preds: Tensor, target: Tensor, normalizer: Tensor, visibility: Tensor | None = None) -> None:
        errors = normalized_mean_error(preds, target, normalizer, visibility)
        errors = errors[~errors.isnan()].to(self.total.device)
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


def landmark_metrics(threshold: float = 0.10, prefix: str | None = None) -> MetricCollection:
    """NME, FR and AUC together, keys "nme", "fr" and "auc" (fractions), with ``prefix`` before them."""
    # torchmetrics would let metrics share one state for good if their states are equal after the first batch,
    # which FR and AUC are (both 0) where that batch holds no visible landmark.
    return MetricCollection(
        {"nme": NormalizedMeanError(), "fr": FailureRate(threshold), "auc": AUCCED(threshold)},
        prefix=prefix,
        compute_groups=False,
    )
