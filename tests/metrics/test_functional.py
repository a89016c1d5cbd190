from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from lgcn.checks import InputError
from lgcn.metrics import (
    auc_ced,
    cumulative_error_distribution,
    error_percentiles,
    failure_rate,
    landmark_errors,
    normalized_mean_error,
)

THRESHOLDS = (0.05, 0.07, 0.08, 0.10)


def test_nme_by_hand() -> None:
    target = torch.zeros(2, 2, 2)
    preds = torch.tensor([[[3.0, 4.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 2.0]]])
    errors = normalized_mean_error(preds, target, torch.tensor([10.0, 100.0]))
    torch.testing.assert_close(errors, torch.tensor([(5 + 1) / 2 / 10, (0 + 2) / 2 / 100]))


def test_nme_is_over_the_visible_landmarks_of_each_image() -> None:
    target = torch.zeros(2, 3, 2)
    preds = torch.tensor([[[3.0, 4.0], [9.0, 9.0], [0.0, 1.0]], [[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]])
    target[0, 1] = torch.nan
    visibility = torch.tensor([[1, 0, 1], [1, 1, 1]])
    errors = normalized_mean_error(preds, target, torch.ones(2), visibility)
    torch.testing.assert_close(errors, torch.tensor([3.0, 2.0]))


def test_nme_does_not_change_when_the_image_is_scaled() -> None:
    preds, target = torch.rand(2, 4, 5, 2, dtype=torch.float64)
    normalizer = torch.rand(4, dtype=torch.float64) + 0.1
    torch.testing.assert_close(
        normalized_mean_error(7 * preds, 7 * target, 7 * normalizer), normalized_mean_error(preds, target, normalizer)
    )


def test_an_image_without_landmarks_has_no_error_and_needs_no_normalizer() -> None:
    visibility = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    normalizer = torch.tensor([torch.nan, 1.0])
    errors = normalized_mean_error(torch.ones(2, 2, 2), torch.zeros(2, 2, 2), normalizer, visibility)
    assert errors.isnan().tolist() == [True, False]
    assert failure_rate(errors).item() == 1.0
    assert auc_ced(errors, 1.0).item() == 0.0


def test_a_prediction_of_nan_is_a_failure_not_a_missing_landmark() -> None:
    preds = torch.zeros(2, 2, 2)
    preds[0, 1, 0] = torch.nan
    errors = normalized_mean_error(preds, torch.zeros(2, 2, 2), torch.ones(2))
    assert errors.tolist() == [torch.inf, 0.0]
    assert failure_rate(errors).item() == 0.5
    assert auc_ced(errors).item() == 0.5


def test_half_precision_is_computed_in_float32() -> None:
    preds = torch.full((1, 68, 2), 3000.0, dtype=torch.float16)  # the square is beyond float16
    errors = normalized_mean_error(preds, torch.zeros(1, 68, 2), torch.tensor([3000.0]))
    assert errors.dtype == torch.float32
    assert errors.item() == pytest.approx(2**0.5)


def test_failure_is_strictly_above_the_threshold() -> None:
    errors = torch.tensor([0.05, 0.1, 0.10001, 0.2])
    assert failure_rate(errors, 0.10).item() == 0.5
    assert failure_rate(errors, 0.05).item() == 0.75
    # A whole number of pixels over a whole number of pixels, exactly at the threshold.
    exact = normalized_mean_error(torch.tensor([[[10.0, 0.0]]]), torch.zeros(1, 1, 2), torch.tensor([100.0]))
    assert failure_rate(exact, 0.10).item() == 0.0


def test_auc_by_hand() -> None:
    assert auc_ced(torch.zeros(3)).item() == 1.0
    assert auc_ced(torch.tensor([0.1, 0.5]), 0.10).item() == 0.0
    assert auc_ced(torch.tensor([0.0, 0.05, 0.2]), 0.10).item() == pytest.approx(1.5 / 3)


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_auc_is_the_integral_of_the_ced(threshold: float) -> None:
    errors = np.random.default_rng(0).gamma(4, 0.012, size=500)
    # The CED is constant between errors, so midpoints between fine steps integrate it to within one step.
    steps = 200_000
    x = (np.arange(steps) + 0.5) * threshold / steps
    ced = np.searchsorted(np.sort(errors), x, side="right") / len(errors)
    assert auc_ced(torch.from_numpy(errors), threshold).item() == pytest.approx(ced.mean(), abs=2 / steps)
    # What the public evaluators do, in steps of 1e-4.
    x = np.linspace(0, threshold, round(threshold / 1e-4) + 1)
    ced = np.searchsorted(np.sort(errors), x, side="right") / len(errors)
    published = (ced[1:] + ced[:-1]).mean() / 2
    assert auc_ced(torch.from_numpy(errors), threshold).item() == pytest.approx(published, abs=1e-4)


@pytest.mark.parametrize("metric", [failure_rate, auc_ced])
def test_metrics_without_errors_are_nan(metric: Callable[..., Tensor]) -> None:
    assert metric(torch.empty(0)).isnan()
    assert metric(torch.tensor([torch.nan])).isnan()


@pytest.mark.parametrize("metric", [failure_rate, auc_ced])
@pytest.mark.parametrize("threshold", [0.0, -0.1, 10.0, float("nan")])
def test_a_threshold_in_percent_is_refused(metric: Callable[..., Tensor], threshold: float) -> None:
    with pytest.raises(InputError, match="'threshold' to be a fraction"):
        metric(torch.zeros(2), threshold)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_a_useless_normalizer_is_named(bad: float) -> None:
    with pytest.raises(InputError, match=r"'normalizer'.*got -?(0\.0|1\.0|nan|inf) for image 1 of 2"):
        normalized_mean_error(torch.zeros(2, 3, 2), torch.zeros(2, 3, 2), torch.tensor([1.0, bad]))


def test_a_visible_target_must_be_finite() -> None:
    target = torch.zeros(2, 3, 2)
    target[1, 2, 0] = torch.nan
    with pytest.raises(InputError, match="'target'.*image 1, landmark 2.*'visibility'"):
        normalized_mean_error(torch.zeros(2, 3, 2), target, torch.ones(2))


def test_shape_errors_name_the_argument() -> None:
    preds, target, normalizer = torch.zeros(2, 3, 2), torch.zeros(2, 3, 2), torch.ones(2)
    with pytest.raises(InputError, match="'preds'.*B, K, 2"):
        normalized_mean_error(preds[0], target, normalizer)
    with pytest.raises(InputError, match="'target'.*B=2, K=3"):
        normalized_mean_error(preds, target[:, :2], normalizer)
    with pytest.raises(InputError, match="'normalizer'.*B=2"):
        normalized_mean_error(preds, target, torch.tensor(1.0))
    with pytest.raises(InputError, match="'visibility'.*B=2, K=3"):
        normalized_mean_error(preds, target, normalizer, torch.ones(2))
    with pytest.raises(InputError, match="'errors'"):
        failure_rate(torch.zeros(2, 2))


def exact_area(errors: np.ndarray, threshold: float) -> float:
    """The integral of the step function from step to step, over the threshold."""
    steps = np.sort(errors[errors < threshold])
    widths = np.diff(np.append(steps, threshold))
    return float((widths * np.arange(1, len(steps) + 1)).sum() / len(errors) / threshold)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_the_closed_form_is_the_exact_area(threshold: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    errors = np.round(rng.gamma(4, 0.012, size=300), rng.integers(2, 9))  # some of them equal, some at the threshold
    found = torch.from_numpy(errors)
    assert auc_ced(found, threshold).item() == pytest.approx(exact_area(errors, threshold), abs=1e-12)
    assert auc_ced(found.float(), threshold).item() == pytest.approx(exact_area(errors, threshold), abs=1e-6)
    assert failure_rate(found, threshold).item() == pytest.approx(sum(e > threshold for e in errors) / 300, abs=1e-12)


def test_errors_of_landmarks_by_hand() -> None:
    preds = torch.tensor([[[3.0, 4.0], [9.0, 9.0], [torch.nan, 1.0]]])
    errors = landmark_errors(preds, torch.zeros(1, 3, 2), torch.tensor([10.0]), torch.tensor([[1, 0, 1]]))
    torch.testing.assert_close(errors, torch.tensor([[0.5, torch.nan, torch.inf]]), equal_nan=True)


def test_percentiles_are_numpys() -> None:
    errors = np.random.default_rng(0).gamma(4, 0.012, size=57)
    found = error_percentiles(torch.from_numpy(errors), (0, 50, 90, 95, 99, 100))
    assert found.tolist() == pytest.approx(np.percentile(errors, (0, 50, 90, 95, 99, 100)).tolist(), abs=1e-12)


def test_percentiles_by_hand() -> None:
    errors = torch.tensor([0.04, torch.nan, 0.02, 0.01, 0.03, 0.05])
    torch.testing.assert_close(error_percentiles(errors, (50, 90)), torch.tensor([0.03, 0.046]))
    assert error_percentiles(torch.tensor([torch.nan])).isnan().all()
    lost = torch.tensor([0.01, 0.02, torch.inf, torch.inf])
    assert error_percentiles(lost, (0, 90, 99)).tolist() == pytest.approx([0.01, torch.inf, torch.inf])
    with pytest.raises(InputError, match="'percents' to lie in 0 ... 100"):
        error_percentiles(errors, (101,))


def test_the_ced_by_hand() -> None:
    errors = torch.tensor([0.02, 0.02, torch.nan, 0.05, 0.30])
    found = cumulative_error_distribution(errors, torch.tensor([0.0, 0.0199, 0.02, 0.05, 0.1]))
    assert found.tolist() == [0.0, 0.0, 0.5, 0.75, 0.75]
    assert cumulative_error_distribution(torch.empty(0), torch.tensor([0.1])).isnan().all()
