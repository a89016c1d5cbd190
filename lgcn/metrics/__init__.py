"""NME, failure rate and AUC of the cumulative error distribution: functions, and states that add up."""

from lgcn.metrics.functional import (
    auc_ced,
    check_threshold,
    cumulative_error_distribution,
    error_percentiles,
    failure_rate,
    landmark_errors,
    normalized_mean_error,
)
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
    "ErrorPercentiles",
    "FailureRate",
    "LandmarkMetric",
    "NormalizedMeanError",
    "PerLandmarkError",
    "auc_ced",
    "check_threshold",
    "cumulative_error_distribution",
    "error_percentiles",
    "failure_rate",
    "landmark_errors",
    "landmark_metrics",
    "normalized_mean_error",
]
