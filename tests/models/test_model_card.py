"""The README of a saved model describes it, and its code runs."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from lgcn.backbones import ModuleBackbone
from lgcn.models import DetectorConfig, LandmarkDetector, ShapeRefiner, create_detector

PHOTO = Path(__file__).parents[2] / "examples" / "astronaut.jpg"


def code_of(folder: Path) -> str:
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    return code.replace("FOLDER or owner/name", str(folder)).replace("photo.jpg", str(PHOTO))


@pytest.mark.filterwarnings("ignore:.*face.*")
def test_the_code_of_a_detector_runs(tmp_path: Path) -> None:
    small = {"backbone": "test_resnet", "input_size": (32, 32), "scheme": "cofw29"}
    create_detector(**small).save_pretrained(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "# 29 landmarks (cofw29)" in text
    assert '"test_resnet"' in text and "32 x 32 pixels" in text
    exec(code_of(tmp_path), {})


def test_the_code_of_a_refiner_runs(tmp_path: Path) -> None:
    shapes = 20 * torch.randn(6, 2) + torch.randn(50, 6, 2)
    for use_confidence in (True, False):
        folder = tmp_path / str(use_confidence)
        confidences = torch.rand(50, 6) if use_confidence else None
        refiner = ShapeRefiner(num_landmarks=6, use_confidence=use_confidence)
        refiner.fit(shapes, shapes + torch.randn(50, 6, 2), confidences).save_pretrained(folder)
        names = {"points": shapes, "confidences": confidences}
        exec(code_of(folder), names)
        assert names["refined"].pos.shape == (50, 6, 2)  # type: ignore[union-attr]


def test_an_own_backbone_is_asked_for_and_a_card_by_hand_is_kept(tmp_path: Path) -> None:
    network = nn.Conv2d(3, 29, 3, stride=4, padding=1)
    backbone = ModuleBackbone(network, 29, feature_channels=29, stride=4, output=lambda heatmaps: (heatmaps, heatmaps))
    detector = LandmarkDetector(DetectorConfig(scheme="cofw29", input_size=(32, 32)), backbone=backbone)
    detector.save_pretrained(tmp_path)
    assert "backbone=backbone" in (tmp_path / "README.md").read_text()
    (tmp_path / "README.md").write_text("mine")
    detector.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"
