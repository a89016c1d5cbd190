"""PCK and OKS against values computed by hand, and streaming against one shot."""

import math

import pytest
import torch

from lgcn.checks import InputError
from lgcn.metrics import (
    ObjectKeypointSimilarity,
    PercentageCorrectKeypoints,
    correct_keypoints,
    landmark_errors,
    object_keypoint_similarity,
)
from lgcn.schemes import get_scheme, normalizing_distance

NAN = torch.nan


def test_pck_by_hand() -> None:
    errors = torch.tensor([[0.05, 0.06, 0.0, NAN], [NAN, NAN, NAN, NAN], [torch.inf, 0.1, 0.2, 0.01]])
    torch.testing.assert_close(correct_keypoints(errors, 0.05), torch.tensor([2 / 3, NAN, 0.25]), equal_nan=True)


def test_oks_by_hand() -> None:
    errors = torch.tensor([[0.0, 0.1, NAN], [0.3, torch.inf, 0.2]])
    got = object_keypoint_similarity(errors, (0.05, 0.05, 0.1))
    # exp(-e^2 / (2 (2 sigma)^2)): an error of two sigmas has exp(-1/2).
    expected = [(1 + math.exp(-0.5)) / 2, (math.exp(-4.5) + 0 + math.exp(-0.5)) / 3]
    torch.testing.assert_close(got, torch.tensor(expected))
    with pytest.raises(InputError, match=r"positive number for each of 3 landmarks \(got 2 numbers\)"):
        object_keypoint_similarity(errors, (0.1, 0.1))


def test_streaming_equals_one_shot() -> None:
    scheme = get_scheme("coco17")
    target, visibility = 100 * torch.rand(6, 17, 2), (torch.rand(6, 17) > 0.2).float()
    preds = target + 4 * torch.randn(6, 17, 2)
    errors = landmark_errors(preds, target, normalizing_distance(target, scheme, "box", visibility), visibility)
    metrics = [PercentageCorrectKeypoints(0.05, scheme=scheme), ObjectKeypointSimilarity("coco17")]
    for chosen in (slice(0, 4), slice(4, 6)):
        for metric in metrics:
            metric.update(preds[chosen], target[chosen], visibility=visibility[chosen])
    once = [correct_keypoints(errors, 0.05), object_keypoint_similarity(errors, scheme.sigmas)]
    for metric, values in zip(metrics, once, strict=True):
        torch.testing.assert_close(metric.compute(), values.mean())
    with pytest.raises(InputError, match=r"'scheme' to define 'sigmas' \(got 'ibug68'"):
        ObjectKeypointSimilarity("ibug68")
