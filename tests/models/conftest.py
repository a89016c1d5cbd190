"""A detector of a few thousand parameters, around a network of our own."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lgcn.backbones import ModuleBackbone
from lgcn.models import PRESETS, LandmarkDetector
from lgcn.options import update

K = 19


class TinyNet(nn.Module):
    def __init__(self, num_landmarks: int = K) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.BatchNorm2d(6), nn.SiLU())
        self.head = nn.Conv2d(6, num_landmarks, 3, padding=1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.stem(images)
        return self.head(features), features


def build_backbone(num_landmarks: int = K, **options: Any) -> ModuleBackbone:
    return ModuleBackbone(TinyNet(num_landmarks), num_landmarks, feature_channels=6, stride=4, **options)


def build_detector(preset: str = "paper", **options: Any) -> LandmarkDetector:
    """In eval mode, with no parameter at zero, as after training."""
    config = update(PRESETS[preset], {"scheme": "aflw19", "input_size": (32, 48), **options})
    detector = LandmarkDetector(config, build_backbone()).eval()
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return detector


@pytest.fixture
def backbone() -> Callable[..., ModuleBackbone]:
    return build_backbone


@pytest.fixture
def detector() -> Callable[..., LandmarkDetector]:
    return build_detector


@pytest.fixture
def images() -> Tensor:
    return torch.randint(256, (2, 3, 32, 48), dtype=torch.uint8)
