"""Interface of a backbone."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from lgcn.typing import HeatmapOutput

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Backbone(nn.Module, ABC):
    """A network from images to heatmaps, one per landmark, and a feature map.

    Subclasses set every attribute below and implement :meth:`forward`.
    """

    num_landmarks: int
    """K, the number of heatmaps."""
    feature_channels: int
    """C, the channels of ``HeatmapOutput.features``."""
    stride: int
    """Pixels of the input per cell of the heatmap."""
    size_multiple: int = 1
    """H and W of the input must be multiples of it, and of the stride; the detector checks that."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Mean of RGB in [0, 1], which the detector subtracts."""
    std: tuple[float, float, float] = IMAGENET_STD
    """Standard deviation of RGB, by which the detector divides."""

    @abstractmethod
    def forward(self, images: Tensor) -> HeatmapOutput:
        """Normalised images [B, 3, H, W] -> heatmaps [B, K, H / stride, W / stride] and features [B, C, h, w]."""
