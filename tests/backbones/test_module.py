from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lgcn.backbones import Backbone, ModuleBackbone
from lgcn.checks import InputError
from lgcn.testing import BackboneTester
from tests.bad_values import raw_errors


class Pair(nn.Module):
    """A network of somebody's own, heatmaps at stride 4 and features at stride 2."""

    def __init__(self, channels: int = 6, num_landmarks: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, stride=2, padding=1)
        self.head = nn.Conv2d(channels, num_landmarks, 2, stride=2)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.stem(images)
        return self.head(features), features


class Alone(Pair):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images)[0]


class TestPair(BackboneTester):
    def build(self) -> Backbone:
        return ModuleBackbone(Pair(), num_landmarks=5, feature_channels=6, stride=4)


class TestHeatmapsAlone(BackboneTester):
    def build(self) -> Backbone:
        return ModuleBackbone(Alone(), num_landmarks=5, feature_channels=5, stride=4)

    def test_heatmaps_serve_as_features(self) -> None:
        heatmaps, features = self.backbone(self.images(1))
        assert features is heatmaps


class TestAnyOutputBehindAFunction(BackboneTester):
    def build(self) -> Backbone:
        class Dictionary(Pair):
            def forward(self, images: Tensor) -> dict[str, Tensor]:
                heatmaps, features = super().forward(images)
                return {"maps": heatmaps, "deep": features}

        return ModuleBackbone(Dictionary(), 5, 6, 4, output=lambda out: (out["maps"], out["deep"]))


def test_normalisation_and_size_are_the_modules_own() -> None:
    backbone = ModuleBackbone(Pair(), 5, 6, 4, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0), size_multiple=16)
    assert (backbone.mean, backbone.std, backbone.size_multiple) == ((0.1, 0.2, 0.3), (1.0, 2.0, 3.0), 16)


class Returns(nn.Module):
    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value

    def forward(self, images: Tensor) -> Any:
        return self.value


@pytest.mark.parametrize("value", [{"maps": torch.zeros(1)}, (1, 2, 3), None])
def test_other_returns_are_refused(value: Any) -> None:
    with pytest.raises(InputError, match=rf"\(got {type(value).__name__}\)\. Pass 'output' to ModuleBackbone"):
        ModuleBackbone(Returns(value), 5, 6, 4)(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize(
    ("heatmaps", "features", "message"),
    [
        ((1, 6, 8, 8), (1, 6, 8, 8), "'heatmaps' to have shape .* with B=1, K=5, h=8, w=8"),
        ((1, 5, 16, 16), (1, 6, 16, 16), "'heatmaps' to have shape .* with B=1, K=5, h=8, w=8"),
        ((1, 5, 8, 8), (1, 7, 8, 8), "'features' to have shape .* with B=1, C=6"),
    ],
)
def test_the_declared_shapes_are_checked(heatmaps: tuple[int, ...], features: tuple[int, ...], message: str) -> None:
    module = Returns((torch.zeros(heatmaps), torch.zeros(features)))
    with pytest.raises(InputError, match=message):
        ModuleBackbone(module, num_landmarks=5, feature_channels=6, stride=4)(torch.zeros(1, 3, 32, 32))


def test_bad_values() -> None:
    sizes = {"num_landmarks": 5, "feature_channels": 5, "stride": 4, "size_multiple": 1, "output": None}
    assert raw_errors(ModuleBackbone, {"module": Alone(), **sizes}) == []
    with pytest.raises(InputError, match="'stride' to be 1 or more .got 0"):
        ModuleBackbone(Alone(), **{**sizes, "stride": 0})
    with pytest.raises(InputError, match="'module' to be a torch.nn.Module .got str"):
        ModuleBackbone("resnet18", **sizes)  # type: ignore[arg-type]
