"""PCK and OKS of a row of results, for schemes whose errors are measured by the size of the object."""

from torch import Tensor

from lgcn.metrics import correct_keypoints, object_keypoint_similarity

PCK_THRESHOLDS = (0.05, 0.10)
"""Fractions of the size of the tight landmark box."""


def keypoint_metrics(errors: Tensor | None, sigmas: tuple[float, ...] | None) -> dict[str, float]:
    """PCK in per cent and, where the scheme has sigmas, OKS in [0, 1].

    Args:
        errors: [N, K], fractions of the size of the box.
        sigmas: of the scheme; None if errors are measured by something else, which leaves nothing to report.
    """
    if sigmas is None or errors is None:
        return {}
    metrics = {
        f"pck_percent@{each:.2f}": 100 * correct_keypoints(errors, each).nanmean().item() for each in PCK_THRESHOLDS
    }
    if sigmas:
        metrics["oks"] = object_keypoint_similarity(errors, sigmas).nanmean().item()
    return metrics


def metric_title(name: str) -> str:
    """The title of a column of a table."""
    kind, _, threshold = name.partition("@")
    return f"PCK@{threshold} %" if kind == "pck_percent" else kind.upper()
