"""A detector with ``flip_test`` sees an image and its mirror image alike."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lgcn.checks import InputError
from lgcn.cli.main import main
from lgcn.export import compare_file, export_detector, load_detector
from lgcn.models import LandmarkDetector, create_detector

Build = Callable[..., LandmarkDetector]


@pytest.mark.parametrize("decode", ["argmax", "quarter", "dark", "softargmax"])
@pytest.mark.parametrize("preset", ["paper", "default"])
def test_initial_landmarks_are_mirrored_with_the_image(
    detector: Build, images: Tensor, preset: str, decode: str
) -> None:
    model = detector(preset, codec={"decode": decode}, flip_test=True)
    found, mirrored = model.propose(images), model.propose(images.flip(-1))
    partners = list(model.scheme.flip_permutation)
    expected = found.pos[:, partners] * torch.tensor([-1, 1]) + torch.tensor([47, 0])
    torch.testing.assert_close(mirrored.pos, expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(mirrored.confidence, found.confidence[:, partners])
    model.flip_test = False
    assert (model.propose(images.flip(-1)).pos - expected).abs().max() > 1e-2, "the network itself is not symmetric"


def test_heatmaps_are_averaged_and_features_are_those_of_the_image(detector: Build, images: Tensor) -> None:
    model = detector(flip_test=True)
    fused = model.propose(images)
    model.flip_test = False
    one, other = model.propose(images), model.propose(images.flip(-1))
    partners = list(model.scheme.flip_permutation)
    torch.testing.assert_close(fused.heatmaps, (one.heatmaps + other.heatmaps[:, partners].flip(-1)) / 2)
    torch.testing.assert_close(fused.features, one.features)


def test_training_of_the_backbone_sees_one_image(detector: Build, images: Tensor) -> None:
    model = detector(flip_test=True).train()
    heatmaps = model(images).heatmaps
    model.flip_test = False
    torch.testing.assert_close(heatmaps, model(images).heatmaps)


def test_a_refiner_on_a_frozen_backbone_trains_with_the_heatmaps_of_inference(detector: Build, images: Tensor) -> None:
    model = detector(flip_test=True).eval()
    expected = model(images).heatmaps
    model.train()
    model.backbone.eval()
    torch.testing.assert_close(model(images).heatmaps, expected)


@pytest.mark.parametrize("codec", [{"align": "corner"}, {"decode": "hrnet", "activation": "clamp"}])
def test_heatmaps_that_cannot_be_mirrored_are_refused(codec: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"Expected no 'flip_test' with codec\.align"):
        create_detector("paper", backbone="mobilenetv3_small_050", flip_test=True, codec=codec)


def test_flip_test_is_kept_replaced_and_exported(tmp_path: Path) -> None:
    options = {"scheme": "aflw19", "backbone": "test_efficientnet", "input_size": (32, 32), "flip_test": True}
    model = create_detector("default", **options).eval()
    model.save_pretrained(tmp_path / "model")
    crops = torch.randint(256, (3, 3, 32, 32), dtype=torch.uint8)
    same = LandmarkDetector.from_pretrained(tmp_path / "model")
    torch.testing.assert_close(same(crops).pos, model(crops).pos)
    plain = LandmarkDetector.from_pretrained(tmp_path / "model", flip_test=False)
    assert not plain.config.flip_test
    assert (plain(crops).pos - same(crops).pos).abs().max() > 1e-4
    pytest.importorskip("onnxruntime")
    export_detector(same, tmp_path / "both.onnx")
    assert compare_file(same, tmp_path / "both.onnx", "onnx", crops).agrees
    with pytest.raises(InputError, match="Expected no 'flip_test' for an ONNX file"):
        load_detector(tmp_path / "both.onnx", flip_test=True)
    assert main(["export", str(tmp_path / "model"), "--output", str(tmp_path / "one.onnx"), "--no-flip-test"]) == 0
    assert compare_file(plain, tmp_path / "one.onnx", "onnx", crops).agrees
