"""NME, failure rate and AUC of the cumulative error distribution: functions, and states that add up."""

from lgcn.metrics.functional import auc_ced, check_threshold, failure_rate, normalized_mean_error
from lgcn.metrics.streaming import AUCCED, FailureRate, LandmarkMetric, NormalizedMeanError, landmark_metrics

__all__ = [
    "AUCCED",
    "FailureRate",
    "LandmarkMetric",
    "NormalizedMeanError",
    "auc_ced",
    "check_threshold",
    "failure_rate",
    "landmark_metrics",
    "normalized_mean_error",
]
