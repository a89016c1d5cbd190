from dataclasses import replace

import numpy as np
import pytest
import torch

from lgcn.checks import InputError
from lgcn.geometry import crop_affine, transform_points
from lgcn.metrics import (
    ErrorPercentiles,
    PerLandmarkError,
    compute_errors,
    error_percentiles,
    landmark_errors,
    landmark_metrics,
)
from lgcn.protocols import get_protocol
from lgcn.schemes import LandmarkScheme
from tests.no_float64 import NoFloat64

SCHEME = LandmarkScheme(
    "triangle", ("left", "right", "chin"), normalizers={"eyes": ((0,), (1,))}, default_normalizer="eyes"
)
SIZE = (32, 64)
IN_CROP = replace(get_protocol("zero_based"), name="in_crop", frame="crop")


def case(protocol: str = "zero_based") -> dict[str, torch.Tensor]:
    """Two faces in the frame of the input; errors of 3 and 5 pixels of the image, eyes 40 and 80 pixels apart."""
    eye = torch.tensor([20.0, 30.0])
    pos = eye + torch.tensor([40.0, 80.0])[:, None, None] * torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 0.5]])
    box = torch.cat([pos.amin(dim=1), pos.amax(dim=1)], dim=1)
    affine = crop_affine(box, SIZE, 1.25)
    offset = torch.tensor([[0.0, 3.0], [3.0, -4.0]])[:, None]
    return {
        "preds": transform_points(pos + offset, affine),
        "target": transform_points(pos, affine),
        "affine": affine,
        "normalizer": torch.tensor([40.0, 80.0]),
        "visibility": torch.ones(2, 3),
    }


def test_errors_are_measured_in_the_image() -> None:
    found = compute_errors(**case(), scheme=SCHEME, protocol="zero_based", input_size=SIZE)
    assert found.errors.dtype == found.landmarks.dtype == torch.float64
    expected = torch.tensor([3 / 40, 5 / 80], dtype=torch.float64)[:, None].expand(2, 3)
    torch.testing.assert_close(found.errors, expected, atol=1e-6, rtol=0)
    assert found.landmarks[1, 0].tolist() == pytest.approx([23.0, 26.0], abs=1e-4)


def test_errors_are_measured_in_the_crop_if_the_protocol_says_so() -> None:
    parts = case()
    found = compute_errors(**parts, scheme=SCHEME, protocol=IN_CROP, input_size=SIZE)
    side = np.array([SIZE[1], SIZE[0]])
    preds, target = (parts[name].double().numpy() / side for name in ("preds", "target"))
    distance = np.linalg.norm(target[:, 0] - target[:, 1], axis=-1)
    expected = np.linalg.norm(preds - target, axis=-1) / distance[:, None]
    np.testing.assert_allclose(found.errors.numpy(), expected, atol=1e-12)
    # The distances in pixels of the image are not used there.
    parts["normalizer"] = torch.full((2,), torch.nan)
    again = compute_errors(**parts, scheme=SCHEME, protocol=IN_CROP, input_size=SIZE)
    assert again.errors.equal(found.errors)


@pytest.mark.parametrize("bad", [torch.nan, 0.0, -1.0, torch.inf])
def test_a_face_that_cannot_be_measured_and_a_missing_landmark_have_no_error(bad: float) -> None:
    parts = case()
    parts["normalizer"][0] = bad
    parts["visibility"][1, 2] = 0
    parts["target"][1, 2] = torch.nan
    found = compute_errors(**parts, scheme=SCHEME, protocol="zero_based", input_size=SIZE)
    assert found.errors.isnan().tolist() == [[True] * 3, [False, False, True]]
    assert found.landmarks.isfinite().all()


def test_whole_pixels_are_those_of_the_image() -> None:
    found = compute_errors(**case(), scheme=SCHEME, protocol="zero_based", input_size=SIZE, whole_pixels=True)
    assert found.landmarks.equal(found.landmarks.round())


def test_shapes_are_checked() -> None:
    parts = case()
    with pytest.raises(InputError, match="'affine'.*B=2"):
        compute_errors(**{**parts, "affine": parts["affine"][:1]}, scheme=SCHEME, protocol="hrnet", input_size=SIZE)
    with pytest.raises(InputError, match="'preds'"):
        compute_errors(**{**parts, "preds": parts["preds"][0]}, scheme=SCHEME, protocol="hrnet", input_size=SIZE)


def test_the_mock_device_refuses_float64() -> None:
    with pytest.raises(TypeError, match="float64"):
        torch.ones(2).as_subclass(NoFloat64).double()
    assert torch.ones(2).as_subclass(NoFloat64).cpu().double().dtype == torch.float64


@pytest.mark.parametrize("protocol", ["zero_based", IN_CROP], ids=["image", "crop"])
def test_errors_need_no_float64_on_the_device(protocol: str) -> None:
    parts = case()
    there = {name: value.as_subclass(NoFloat64) for name, value in parts.items()}
    for whole_pixels in (False, True):
        options = {"scheme": SCHEME, "protocol": protocol, "input_size": SIZE, "whole_pixels": whole_pixels}
        expected, found = compute_errors(**parts, **options), compute_errors(**there, **options)  # type: ignore[arg-type]
        assert found.errors.equal(expected.errors) and found.landmarks.equal(expected.landmarks)


def test_metrics_need_no_float64_on_the_device() -> None:
    """Also where target and normaliser are float64 on the CPU and the predictions are on the device."""
    preds, target = torch.rand(4, 3, 2), torch.rand(4, 3, 2)
    normalizer = torch.rand(4) + 0.5
    there = preds.as_subclass(NoFloat64)
    expected = landmark_errors(preds, target, normalizer)
    for each in (
        landmark_errors(there, target.double(), normalizer.double()),
        landmark_errors(there, target.as_subclass(NoFloat64), normalizer.as_subclass(NoFloat64)),
    ):
        torch.testing.assert_close(each.cpu(), expected)
    errors = expected.nanmean(dim=1)
    torch.testing.assert_close(error_percentiles(errors.as_subclass(NoFloat64)).cpu(), error_percentiles(errors))
    for metric in (*landmark_metrics(0.5).values(), PerLandmarkError(3), ErrorPercentiles()):
        metric.update(there, target, normalizer)
        found = metric.compute().cpu()
        metric.reset()
        metric.update(preds, target, normalizer)
        torch.testing.assert_close(found, metric.compute())


@pytest.mark.parametrize("protocol", ["zero_based", IN_CROP])
def test_covariances_are_compared_with_the_errors(protocol: object) -> None:
    """A deviation of 2 pixels of the image expects an error of 2 sqrt(pi / 2) pixels, in any frame."""
    parts = case()
    parts["visibility"][1, 2] = 0
    linear = parts["affine"][:, None, :, :2]
    covariance = 4 * (linear @ linear.transpose(-1, -2)).expand(2, 3, 2, 2)
    options = {"scheme": SCHEME, "protocol": protocol, "input_size": SIZE}
    found = compute_errors(**parts, **options, covariance=covariance)
    plain = compute_errors(**parts, **options)
    assert plain.expected is None and plain.mahalanobis is None
    torch.testing.assert_close(found.errors, plain.errors, equal_nan=True)
    squared = torch.tensor([[9.0 / 4] * 3, [25.0 / 4] * 3]).double()
    squared[1, 2] = torch.nan
    torch.testing.assert_close(found.mahalanobis, squared, rtol=1e-4, atol=0, equal_nan=True)
    if protocol == "zero_based":
        expected = (2 * np.sqrt(np.pi / 2) / parts["normalizer"].double())[:, None].repeat(1, 3)
        expected[1, 2] = torch.nan
        torch.testing.assert_close(found.expected, expected, rtol=1e-4, atol=0, equal_nan=True)
