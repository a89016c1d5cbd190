"""What a backbone must offer."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from lgcn.typing import HeatmapOutput

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Backbone(nn.Module, ABC):
    """A network from pictures to one heatmap a landmark, and features to look at where they point.

    Subclasses set every attribute below and implement :meth:`forward`.
    """

    num_landmarks: int
    """K, the number of heatmaps."""
    feature_channels: int
    """C, the channels of ``HeatmapOutput.features``."""
    stride: int
    """Pixels of the input a cell of the heatmap."""
    size_multiple: int = 1
    """H and W of the input must be multiples of it, and of the stride; the detector sees to it."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Subtracted from RGB in [0, 1]; the detector does it."""
    std: tuple[float, float, float] = IMAGENET_STD
    """What RGB is divided by after that."""

    @abstractmethod
    def forward(self, images: Tensor) -> HeatmapOutput:
        """Normalised pictures [B, 3, H, W] -> heatmaps [B, K, H / stride, W / stride] and features [B, C, h, w]."""
