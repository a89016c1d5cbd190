import pickle

import numpy as np
import pytest
import torch
from torch import Tensor

from lgcn.checks import InputError
from lgcn.metrics import (
    AUCCED,
    ErrorPercentiles,
    FailureRate,
    LandmarkMetric,
    NormalizedMeanError,
    PerLandmarkError,
    auc_ced,
    failure_rate,
    landmark_metrics,
    normalized_mean_error,
)
from lgcn.schemes import get_scheme

THRESHOLDS = (0.05, 0.07, 0.08, 0.10)


def make_case(B: int = 50, K: int = 7) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Predictions some 8 % of the normalising distance away; the fourth image has no visible landmark."""
    target = 200 * torch.rand(B, K, 2)
    normalizer = 20 + 80 * torch.rand(B)
    preds = target + 0.06 * normalizer[:, None, None] * torch.randn(B, K, 2)
    visibility = (torch.rand(B, K) > 0.2).float()
    visibility[3] = 0
    target[3] = torch.nan
    return preds, target, normalizer, visibility


def reference(
    preds: Tensor, target: Tensor, normalizer: Tensor, visibility: Tensor, threshold: float
) -> dict[str, float]:
    """The three metrics by plain loops in float64."""
    errors = []
    for pos, truth, distance, seen in zip(preds, target, normalizer, visibility, strict=True):
        each = [np.hypot(*(p - t).double().tolist()) for p, t, v in zip(pos, truth, seen, strict=True) if v]
        if each:
            errors.append(sum(each) / len(each) / float(distance))
    return {
        "nme": float(np.mean(errors)),
        "fr": sum(e > threshold for e in errors) / len(errors),
        "auc": sum(max(0.0, threshold - e) for e in errors) / len(errors) / threshold,
    }


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_streaming_equals_one_shot_equals_plain_loops(threshold: float) -> None:
    case = make_case()
    metrics = landmark_metrics(threshold)
    for start in range(0, 50, 8):
        metrics.update(*(part[start : start + 8] for part in case))
    streamed = {name: value.item() for name, value in metrics.compute().items()}

    errors = normalized_mean_error(*case)
    one_shot = {
        "nme": errors.nanmean().item(),
        "fr": failure_rate(errors, threshold).item(),
        "auc": auc_ced(errors, threshold).item(),
    }
    expected = reference(*case, threshold)
    assert 0 < expected["fr"] < 1  # the three metrics differ
    assert streamed == pytest.approx(one_shot, abs=1e-6)
    assert streamed == pytest.approx(expected, abs=1e-6)


def test_two_processes_add_up_to_one() -> None:
    case = make_case()
    other = AUCCED()

    def gather(state: Tensor, group: object) -> list[Tensor]:
        return [state, other.total if state.is_floating_point() else other.count]

    this = AUCCED(dist_sync_fn=gather, distributed_available_fn=lambda: True)
    this.update(*(part[:20] for part in case))
    other.update(*(part[20:] for part in case))
    assert this.compute().item() == pytest.approx(reference(*case, 0.10)["auc"], abs=1e-6)


def test_a_first_batch_without_landmarks_does_not_tie_the_metrics_together() -> None:
    preds, target, normalizer, visibility = make_case()
    metrics = landmark_metrics()
    metrics.update(preds[:2], target[:2].nan_to_num(), normalizer[:2], torch.zeros(2, 7))
    metrics.update(preds, target, normalizer, visibility)
    streamed = {name: value.item() for name, value in metrics.compute().items()}
    assert streamed == pytest.approx(reference(preds, target, normalizer, visibility, 0.10), abs=1e-6)


def test_failure_is_strictly_above_the_threshold_in_float32_too() -> None:
    metric = FailureRate(0.10)
    metric.update(torch.tensor([[[10.0, 0.0]]]), torch.zeros(1, 1, 2), torch.tensor([100.0]))
    assert metric.compute().item() == 0


@pytest.mark.parametrize("metric", [NormalizedMeanError(), FailureRate(0.07), AUCCED(0.07)])
def test_a_pickled_metric_keeps_its_state(metric: LandmarkMetric) -> None:
    case = make_case()
    metric.update(*(part[:20] for part in case))
    copy = pickle.loads(pickle.dumps(metric))
    for each in (metric, copy):
        each.update(*(part[20:] for part in case))
    assert torch.equal(copy.compute(), metric.compute())
    copy.reset()
    assert copy.count.item() == 0 and metric.count.item() == 49


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
def test_nothing_seen_is_nan() -> None:
    assert NormalizedMeanError().compute().isnan()


def test_the_collection_names_its_metrics() -> None:
    assert sorted(landmark_metrics()) == ["auc", "fr", "nme"]
    case = torch.zeros(1, 2, 2), torch.zeros(1, 2, 2), torch.ones(1)
    assert sorted(landmark_metrics(prefix="val/")(*case)) == ["val/auc", "val/fr", "val/nme"]
    assert repr(FailureRate(0.08)) == "FailureRate(threshold=0.08)"


def test_a_metric_raises_the_errors_of_its_function() -> None:
    with pytest.raises(InputError, match="'normalizer'"):
        NormalizedMeanError().update(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2), torch.zeros(1))
    with pytest.raises(InputError, match="'threshold'"):
        landmark_metrics(8.0)


def test_per_landmark_errors_and_percentiles_agree_with_numpy() -> None:
    case = make_case()
    metrics = PerLandmarkError(7), ErrorPercentiles((50, 90, 95, 99))
    for start in range(0, 50, 8):
        for metric in metrics:
            metric.update(*(part[start : start + 8] for part in case))
    preds, target, normalizer, visibility = (part.double().numpy() for part in case)
    distance = np.linalg.norm(preds - target, axis=-1) / normalizer[:, None]
    distance[visibility == 0] = np.nan
    assert metrics[0].compute().tolist() == pytest.approx(np.nanmean(distance, axis=0).tolist(), abs=1e-6)
    errors = np.nanmean(np.delete(distance, 3, axis=0), axis=1)
    assert metrics[1].compute().tolist() == pytest.approx(np.percentile(errors, (50, 90, 95, 99)).tolist(), abs=1e-6)


def test_a_landmark_that_is_never_visible_has_no_error() -> None:
    metric = PerLandmarkError(2)
    metric.update(torch.ones(1, 2, 2), torch.zeros(1, 2, 2), torch.ones(1), torch.tensor([[1.0, 0.0]]))
    assert metric.compute().tolist() == pytest.approx([2**0.5, torch.nan], nan_ok=True)


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
def test_percentiles_of_nothing_are_nan_and_reset_forgets() -> None:
    metric = ErrorPercentiles()
    metric.update(torch.ones(1, 2, 2), torch.zeros(1, 2, 2), torch.ones(1))
    assert metric.compute()[0].item() == pytest.approx(2**0.5)
    metric.reset()
    assert metric.compute().isnan().all()


@pytest.mark.parametrize("scheme", ["ibug68", "wflw98"])
@pytest.mark.parametrize("normalizer", ["inter_ocular", "inter_pupil", "box"])
def test_the_normalizer_is_computed_from_the_truth(scheme: str, normalizer: str) -> None:
    K = get_scheme(scheme).num_landmarks
    target = 200 * torch.rand(4, K, 2)
    preds = target + torch.randn(4, K, 2)
    metric = NormalizedMeanError(scheme=scheme, normalizer=normalizer)
    metric.update(preds, target)

    truth = target.double().numpy()
    groups = get_scheme(scheme).normalizers
    expected = []
    for points, found in zip(truth, preds.double().numpy(), strict=True):
        if normalizer == "box":
            length = np.sqrt(np.prod(points.max(axis=0) - points.min(axis=0)))
        else:
            left, right = (points[list(group)].mean(axis=0) for group in groups[normalizer])
            length = np.hypot(*(left - right))
        expected.append(np.hypot(*(found - points).T).mean() / length)
    assert metric.compute().item() == pytest.approx(np.mean(expected), rel=1e-5)
    landmarks = PerLandmarkError(scheme=scheme, normalizer=normalizer)
    landmarks.update(preds, target)
    assert landmarks.compute().mean().item() == pytest.approx(np.mean(expected), rel=1e-5)


def test_unknown_normalizers_are_refused() -> None:
    with pytest.raises(InputError, match="'scheme' with a 'normalizer'"):
        NormalizedMeanError(normalizer="box")
    with pytest.raises(InputError, match="'normalizer' to be one of inter_ocular, inter_pupil, box"):
        NormalizedMeanError(scheme="ibug68", normalizer="pupil")
    with pytest.raises(InputError, match="'normalizer' with every batch, or a 'scheme'"):
        NormalizedMeanError().update(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2))
    with pytest.raises(InputError, match="'num_landmarks' or 'scheme'"):
        PerLandmarkError()
    with pytest.raises(InputError, match="'preds' to have shape .* with K=3"):
        PerLandmarkError(3).update(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2), torch.ones(1))
    assert set(landmark_metrics(scheme="ibug68")) == {"nme", "fr", "auc"}
