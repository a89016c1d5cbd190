"""A detector refuses a backbone that breaks the contract, with what is missing or the shapes expected and got."""

from typing import Any

import pytest
from torch import Tensor, nn

from lgcn.backbones import Backbone, ModuleBackbone
from lgcn.checks import InputError
from lgcn.models import PRESETS, LandmarkDetector
from lgcn.typing import HeatmapOutput


class Own(Backbone):
    def __init__(self, **attributes: Any) -> None:
        super().__init__()
        self.num_landmarks, self.feature_channels, self.stride = 19, 6, 4
        self.stem, self.head = nn.Conv2d(3, 6, 4, stride=4), nn.Conv2d(6, 19, 1)
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, images: Tensor) -> HeatmapOutput:
        features = self.stem(images)
        return HeatmapOutput(self.head(features), features)


class ReturnsList(Own):
    def forward(self, images: Tensor) -> Any:
        return list(super().forward(images))


class Fails(Own):
    def forward(self, images: Tensor) -> HeatmapOutput:
        raise RuntimeError("of its own")


def detect(backbone: Any) -> LandmarkDetector:
    return LandmarkDetector(PRESETS["default"].with_options(scheme="aflw19", input_size=(32, 48)), backbone)


def test_the_trial_leaves_no_trace() -> None:
    backbone = Own().train()
    backbone.stem.eval()
    detector = detect(backbone)
    assert backbone.training and not backbone.stem.training
    assert all(parameter.grad is None for parameter in detector.parameters())


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        (nn.Conv2d(3, 19, 1), "Conv2d has no num_landmarks, feature_channels"),
        (Own(num_landmarks=5), r"each of the 19 landmarks of 'aflw19' \(got 5\)"),
        (Own(stride=8), r"heatmaps \[B, K, H / 8, W / 8\], \[2, 19, 4, 6\] .* \(got \[2, 19, 8, 12\] of Own\)"),
        (Own(feature_channels=7), r"features \[2, 7, h, w\] \(got \[2, 6, 8, 12\] of Own\)"),
        (Own(size_multiple=32), r"'input_size' in multiples of 32 \(got \(32, 48\)"),
        (ReturnsList(), r"lgcn.typing.HeatmapOutput \(got list of ReturnsList\)"),
        (Fails(), r"images \[2, 3, 32, 48\] \(got Fails, which raised RuntimeError: of its own\)"),
        (ModuleBackbone(nn.Conv2d(3, 19, 1), 19, 19, 4), "'heatmaps' to have shape"),
        (ModuleBackbone(nn.Conv2d(3, 19, 1), 19, 8, 1), "heatmaps alone.*feature_channels=num_landmarks"),
        (Own, "a network that is built .got <class"),
        (Own(mean=(0.5,)), r"'mean' of the backbone as three numbers for RGB \(got \(0.5,\)\)"),
        (Own(std=(0, 1, 1)), r"'std' to be a positive number \(got 0\)"),
    ],
)
def test_what_is_wrong_is_said(backbone: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        detect(backbone)
