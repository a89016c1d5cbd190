"""PCK and OKS, the metrics of keypoints on bodies, hands and animals, from errors in units of the object's size."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lgcn.checks import InputError, check_shape, check_values
from lgcn.metrics.functional import check_threshold
from lgcn.metrics.streaming import LandmarkMetric
from lgcn.schemes import BOX_NORMALIZER, LandmarkScheme, get_scheme


def correct_keypoints(errors: Tensor, threshold: float = 0.05) -> Tensor:
    r"""Fraction of each image's landmarks with an error of at most ``threshold``: PCK, percentage of correct keypoints.

    Args:
        errors: [B, K], from :func:`~lgcn.metrics.landmark_errors`; NaN where a landmark is not annotated.
        threshold: a fraction of the normalising distance.

    Returns:
        [B], in [0, 1]; NaN for an image without annotated landmarks.
    """
    check_shape("errors", errors, "B K")
    check_values(errors=errors)
    check_threshold(threshold)
    precision = torch.promote_types(errors.dtype, torch.float32)
    return (errors <= threshold).to(precision).masked_fill(errors.isnan(), torch.nan).nanmean(dim=1)


def object_keypoint_similarity(errors: Tensor, sigmas: Sequence[float]) -> Tensor:
    r"""OKS of each image, :math:`\frac{1}{K} \sum_k \exp\bigl(-e_k^2 / (2 (2 \sigma_k)^2)\bigr)`.

    As in COCO's evaluation, with the area of the object as that of the tight box around its landmarks: the annotated
    area of a segmentation, which COCO takes, is smaller, so that this OKS is higher.

    Args:
        errors: [B, K], from :func:`~lgcn.metrics.landmark_errors` with the normaliser ``"box"``; NaN where a landmark
            is not annotated.
        sigmas: K tolerances, ``LandmarkScheme.sigmas``.

    Returns:
        [B], in [0, 1]; NaN for an image without annotated landmarks.
    """
    check_shape("errors", errors, "B K")
    check_values(errors=errors)
    if len(sigmas) != errors.shape[1] or not all(sigma > 0 for sigma in sigmas):
        raise InputError(
            f"Expected 'sigmas' to hold a positive number for each of {errors.shape[1]} landmarks (got {len(sigmas)} "
            "numbers). A scheme of your own defines them as 'sigmas'."
        )
    errors = errors.to(torch.promote_types(errors.dtype, torch.float32))
    tolerance = 2 * errors.new_tensor(sigmas)
    return torch.exp(-(errors / tolerance).square() / 2).nanmean(dim=1)


class PercentageCorrectKeypoints(LandmarkMetric):
    """PCK as a fraction, :func:`correct_keypoints` averaged over images; higher is better.

    Args:
        threshold: a fraction of the normalising distance.
        **kwargs: arguments of :class:`LandmarkMetric`.
    """

    higher_is_better = True

    def __init__(self, threshold: float = 0.05, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.threshold = check_threshold(threshold)

    def reduce_landmarks(self, errors: Tensor) -> Tensor:
        return correct_keypoints(errors, self.threshold)


class ObjectKeypointSimilarity(LandmarkMetric):
    """:func:`object_keypoint_similarity` averaged over images; higher is better.

    Args:
        scheme: name of a landmark scheme with ``sigmas``, or one; errors are measured by its box.
        **kwargs: arguments of :class:`torchmetrics.Metric`.
    """

    higher_is_better = True

    def __init__(self, scheme: str | LandmarkScheme, **kwargs: Any) -> None:
        super().__init__(scheme, BOX_NORMALIZER, **kwargs)
        self.sigmas = get_scheme(scheme).sigmas
        if not self.sigmas:
            raise InputError(f"Expected 'scheme' to define 'sigmas' (got '{get_scheme(scheme).name}', which does not).")

    def reduce_landmarks(self, errors: Tensor) -> Tensor:
        return object_keypoint_similarity(errors, self.sigmas)
