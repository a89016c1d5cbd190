"""Adapters on the real classes of their libraries, with random weights."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lgcn.adapters import KeypointRCNNAdapter, RTMPoseAdapter, ViTPoseBackbone
from lgcn.adapters.torchvision import peak_probability
from lgcn.checks import InputError
from lgcn.models import LandmarkDetector
from lgcn.models.presets import PRESETS


def test_keypoint_rcnn() -> None:
    detection = pytest.importorskip("torchvision.models.detection")
    torch.manual_seed(0)
    model = detection.keypointrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_keypoints=7, min_size=64, max_size=96, box_detections_per_img=3
    )
    adapter = KeypointRCNNAdapter(model, min_score=0.0)
    found = adapter([torch.rand(3, 64, 80), torch.rand(3, 70, 64)])
    assert len(found) == 2 and sum(len(each.pos) for each in found)
    with torch.no_grad():
        plain = model([torch.rand(3, 64, 80)])
    assert plain[0].keys() >= {"keypoints"}  # the hooks are gone and the model works as before
    for each in found:
        N = len(each.pos)
        assert each.pos.shape == (N, 7, 2) and each.heatmaps.shape == (N, 7, 56, 56)
        assert each.features.shape == (N, 7, 512)
        assert each.confidence.min() >= 0 and each.confidence.max() <= 1
    with pytest.raises(InputError, match="Linear has no roi_heads.keypoint_head"):
        KeypointRCNNAdapter(nn.Linear(2, 2))


def test_peak_probability_is_near_one_for_a_sharp_peak_and_small_for_a_flat_map() -> None:
    logits = torch.zeros(1, 2, 56, 56)
    logits[0, 0, 20, 30] = 30
    sharp, flat = peak_probability(logits)[0].tolist()
    assert sharp == pytest.approx(1.0, abs=1e-4) and flat < 0.01


def vitpose(**options: Any) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    vit = transformers.VitPoseBackboneConfig(
        image_size=(64, 48), patch_size=[16, 16], hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, out_indices=[2], **options,
    )  # fmt: skip
    config = transformers.VitPoseConfig(backbone_config=vit, num_labels=19, use_simple_decoder=False)
    model: nn.Module = transformers.VitPoseForPoseEstimation(config)
    return model


def test_vitpose_is_a_backbone() -> None:
    torch.manual_seed(0)
    model = vitpose()
    backbone = ViTPoseBackbone(model)
    images = torch.rand(2, 3, 64, 48)
    heatmaps, features = backbone(images)
    assert torch.equal(heatmaps, model(images).heatmaps)
    assert heatmaps.shape == (2, 19, 16, 12) and features.shape == (2, 24, 4, 3)
    assert (backbone.num_landmarks, backbone.feature_channels, backbone.stride) == (19, 24, 4)
    config = PRESETS["default"].with_options(scheme="aflw19", input_size=(64, 48))
    detector = LandmarkDetector(config, backbone).train()
    assert not model.training
    detector(images).pos.sum().backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    with pytest.raises(InputError, match=r"'images' to have shape .*H=64, W=48"):
        backbone(torch.rand(2, 3, 64, 64))
    with pytest.raises(InputError, match="VitPoseForPoseEstimation .Linear has no 'backbone'"):
        ViTPoseBackbone(nn.Linear(2, 2))


def test_rtmpose_gives_variances(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    rtmlib = pytest.importorskip("rtmlib", exc_type=ImportError)
    helper, K = onnx.helper, 3
    x, y = np.zeros((1, K, 96), np.float32), np.zeros((1, K, 128), np.float32)
    x[0, :, 40] = 5.0  # sharp
    x[0, 2, 30:51] = 5.0  # wide
    y[0, :, 60] = 5.0
    # Adds 0 times the mean of the image, so that the outputs depend on the input.
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["x", "nothing"], ["simcc_x"]),
        helper.make_node("Add", ["y", "nothing"], ["simcc_y"]),
    ]
    constants = [
        onnx.numpy_helper.from_array(value, name)
        for name, value in (("x", x), ("y", y), ("zero", np.zeros((), np.float32)))
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "pose",
        [value("input", 1, [1, 3, 64, 48])],
        [value("simcc_x", 1, [1, K, 96]), value("simcc_y", 1, [1, K, 128])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "pose.onnx")
    pose = rtmlib.RTMPose(str(tmp_path / "pose.onnx"), model_input_size=(48, 64))
    image, boxes = np.zeros((200, 100, 3), np.uint8), [[10, 20, 90, 150], [0, 0, 100, 200]]
    found = RTMPoseAdapter(pose)(image, boxes)
    points, scores = pose(image, boxes)
    np.testing.assert_allclose(found.pos.numpy(), points, rtol=1e-5)
    np.testing.assert_allclose(found.confidence.numpy(), scores, rtol=1e-5)
    variance = found.covariance.diagonal(dim1=-2, dim2=-1)
    assert (variance[:, 2, 0] > 100 * variance[:, 0, 0]).all()
    # 21 bins of half a pixel have a variance of 110 / 3 bins; a box of 80 x 130 has 130 * 1.25 / 64 pixels a pixel.
    assert variance[0, 2, 0].item() == pytest.approx(110 / 3 / 4 * (130 * 1.25 / 64) ** 2, rel=0.01)
    with pytest.raises(InputError, match="RTMPose .SimpleNamespace has no 'preprocess'"):
        RTMPoseAdapter(SimpleNamespace())
