"""Stacked hourglasses with intermediate supervision (Newell, Yang & Deng 2016)."""

import torch.nn.functional as F
from torch import Tensor, nn

from lgcn.backbones.base import Backbone
from lgcn.checks import check_at_least
from lgcn.typing import HeatmapOutput, SupervisedHeatmapOutput


class HourglassBackbone(Backbone):
    """A stack of encoder-decoders, each of which sees the features and the heatmaps of the one before.

    The architecture of `"Stacked Hourglass Networks for Human Pose Estimation" <https://arxiv.org/abs/1603.06937>`_ at
    a width of your choice; heatmaps of stride 4. In training it also returns the heatmaps of the earlier stacks, whose
    losses :class:`lgcn.losses.DetectionLoss` adds to that of the last.

    Args:
        num_landmarks: K.
        num_stacks: number of hourglasses.
        width: channels of the feature map; 256 in the publication.
        depth: levels of an hourglass: H and W of the input must be multiples of ``4 * 2 ** depth``.

    Raises:
        InputError: for numbers that cannot be used.
    """

    stride = 4

    def __init__(self, num_landmarks: int, num_stacks: int = 2, width: int = 128, depth: int = 4) -> None:
        super().__init__()
        check_at_least("num_stacks", num_stacks, 1)
        check_at_least("depth", depth, 1)
        self.num_landmarks = check_at_least("num_landmarks", num_landmarks, 1)
        self.feature_channels = check_at_least("width", width, 4)
        self.size_multiple = self.stride * 2**depth
        half = width // 2
        self.stem = nn.Sequential(
            nn.Conv2d(3, half, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(inplace=True),
            Residual(half, width),
            nn.MaxPool2d(2),
            Residual(width, width),
        )
        self.hourglasses = nn.ModuleList(Hourglass(width, depth) for _ in range(num_stacks))
        self.feature_layers = nn.ModuleList(_features(width) for _ in range(num_stacks))
        self.heads = nn.ModuleList(nn.Conv2d(width, num_landmarks, 1) for _ in range(num_stacks))
        self.merge_features = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(num_stacks - 1))
        self.merge_heatmaps = nn.ModuleList(nn.Conv2d(num_landmarks, width, 1) for _ in range(num_stacks - 1))

    def forward(self, images: Tensor) -> HeatmapOutput | SupervisedHeatmapOutput:  # type: ignore[override]
        x = self.stem(images)
        heatmaps: list[Tensor] = []
        features = x
        for stack, hourglass in enumerate(self.hourglasses):
            if stack:
                before = stack - 1
                x = x + self.merge_features[before](features) + self.merge_heatmaps[before](heatmaps[before])
            features = self.feature_layers[stack](hourglass(x))
            heatmaps.append(self.heads[stack](features))
        if self.training and len(heatmaps) > 1:
            return SupervisedHeatmapOutput(heatmaps[-1], features, tuple(heatmaps[:-1]))
        return HeatmapOutput(heatmaps[-1], features)


class Hourglass(nn.Module):
    """One encoder-decoder with a residual block on each skip connection."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.skip = Residual(width, width)
        inner = Hourglass(width, depth - 1) if depth > 1 else Residual(width, width)
        self.low = nn.Sequential(nn.MaxPool2d(2), Residual(width, width), inner, Residual(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + F.interpolate(self.low(x), scale_factor=2.0, mode="nearest")


class Residual(nn.Module):
    """The pre-activation bottleneck block of the publication."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.block = nn.Sequential(
            *(nn.BatchNorm2d(in_channels), nn.ReLU(), nn.Conv2d(in_channels, half, 1, bias=False)),
            *(nn.BatchNorm2d(half), nn.ReLU(), nn.Conv2d(half, half, 3, padding=1, bias=False)),
            *(nn.BatchNorm2d(half), nn.ReLU(), nn.Conv2d(half, out_channels, 1)),
        )
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.block(x)


def _features(width: int) -> nn.Sequential:
    return nn.Sequential(
        Residual(width, width), nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
    )
