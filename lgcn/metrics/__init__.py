"""NME, failure rate and AUC of the cumulative error distribution, as functions and as torchmetrics; all fractions."""

from lgcn.metrics.functional import (
    METRICS,
    auc_ced,
    check_threshold,
    cumulative_error_distribution,
    error_percentiles,
    failure_rate,
    landmark_errors,
    normalized_mean_error,
)
from lgcn.metrics.keypoints import (
    ObjectKeypointSimilarity,
    PercentageCorrectKeypoints,
    correct_keypoints,
    object_keypoint_similarity,
)
from lgcn.metrics.protocol_errors import ProtocolErrors, compute_errors
from lgcn.metrics.streaming import (
    AUCCED,
    ErrorPercentiles,
    FailureRate,
    LandmarkMetric,
    NormalizedMeanError,
    PerLandmarkError,
    landmark_metrics,
)

__all__ = [
    "AUCCED",
    "METRICS",
    "ErrorPercentiles",
    "FailureRate",
    "LandmarkMetric",
    "NormalizedMeanError",
    "ObjectKeypointSimilarity",
    "PerLandmarkError",
    "PercentageCorrectKeypoints",
    "ProtocolErrors",
    "auc_ced",
    "check_threshold",
    "compute_errors",
    "correct_keypoints",
    "cumulative_error_distribution",
    "error_percentiles",
    "failure_rate",
    "landmark_errors",
    "landmark_metrics",
    "normalized_mean_error",
    "object_keypoint_similarity",
]
