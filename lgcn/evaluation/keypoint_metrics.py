"""Registered metrics of a row of results, and PCK and OKS where errors are measured by the size of the object."""

from typing import Any

from torch import Tensor

from lgcn.checks import InputError, shown
from lgcn.metrics import METRICS, correct_keypoints, object_keypoint_similarity

PCK_THRESHOLDS = (0.05, 0.10)
"""Fractions of the size of the tight landmark box."""


def keypoint_metrics(errors: Tensor | None, sigmas: tuple[float, ...] | None) -> dict[str, float]:
    """All of :data:`lgcn.metrics.METRICS`, PCK in per cent and, where the scheme has sigmas, OKS in [0, 1].

    Args:
        errors: [N, K], fractions of the size of the box; None or no objects give no metrics.
        sigmas: of the scheme; None if errors are measured by something else, which leaves out PCK and OKS.

    Raises:
        InputError: if a registered metric does not return one number.
    """
    if errors is None or not len(errors):
        return {}
    metrics = {name: _one_number(name, METRICS[name](errors)) for name in METRICS}
    if sigmas is None:
        return metrics
    metrics |= {
        f"pck_percent@{each:.2f}": 100 * correct_keypoints(errors, each).nanmean().item() for each in PCK_THRESHOLDS
    }
    if sigmas:
        metrics["oks"] = object_keypoint_similarity(errors, sigmas).nanmean().item()
    return metrics


def metric_title(name: str) -> str:
    """The title of a column of a table: PCK@0.05 %, OKS, worst landmark %."""
    kind, at, threshold = name.partition("@")
    unit = " %" if kind.endswith("_percent") else ""
    kind = kind.removesuffix("_percent")
    return f"{kind.upper() if kind in ('pck', 'oks') else kind.replace('_', ' ')}{at}{threshold}{unit}"


def _one_number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"Expected metric '{name}' to return one number (got {shown(value)}).") from None
