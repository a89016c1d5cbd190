"""Adapter from any keypoint network to the backbone interface."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from lgcn.backbones.base import IMAGENET_MEAN, IMAGENET_STD, Backbone
from lgcn.checks import InputError, check_at_least, check_shape, shown
from lgcn.typing import HeatmapOutput


def _as_heatmap_output(output: Any) -> HeatmapOutput:
    if isinstance(output, Tensor):
        return HeatmapOutput(output, output)
    if isinstance(output, (tuple, list)) and len(output) == 2:
        return HeatmapOutput(*output)
    raise InputError(
        f"Expected the module to return heatmaps or a pair (heatmaps, features) (got {type(output).__name__}). "
        "Pass 'output' to ModuleBackbone, a function from what it returns to such a pair."
    )


class ModuleBackbone(Backbone):
    """Wrap a module that returns heatmaps, or heatmaps and features.

    Args:
        module: called with normalised images [B, 3, H, W].
        num_landmarks: K.
        feature_channels: C; equal to K if the module returns only heatmaps, which are the features then.
        stride: pixels of the input per cell of the heatmap.
        output: function from the module's output to ``(heatmaps, features)``; needed unless that is a tensor or a
            pair of tensors.
        mean: mean that is subtracted from RGB in [0, 1].
        std: standard deviation by which it is divided.
        size_multiple: H and W of the input must be multiples of it, and of the stride.

    Raises:
        InputError: in :meth:`forward`, if the module's output does not have the given shapes.
    """

    def __init__(
        self,
        module: nn.Module,
        num_landmarks: int,
        feature_channels: int,
        stride: int,
        output: Callable[[Any], Any] | None = None,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
        size_multiple: int = 1,
    ) -> None:
        super().__init__()
        if not isinstance(module, nn.Module):
            raise InputError(f"Expected 'module' to be a torch.nn.Module (got {type(module).__name__}).")
        if output is not None and not callable(output):
            raise InputError(f"Expected 'output' to be a function of the module's output (got {shown(output)}).")
        self.module = module
        self.num_landmarks = check_at_least("num_landmarks", num_landmarks, 1)
        self.feature_channels = check_at_least("feature_channels", feature_channels, 1)
        self.stride = check_at_least("stride", stride, 1)
        self.output = output
        self.mean = mean
        self.std = std
        self.size_multiple = check_at_least("size_multiple", size_multiple, 1)

    def forward(self, images: Tensor) -> HeatmapOutput:
        output = self.module(images)
        output = _as_heatmap_output(output if self.output is None else self.output(output))
        batch, _, height, width = images.shape
        size = {"h": height // self.stride, "w": width // self.stride}
        try:
            check_shape("heatmaps", output.heatmaps, "B K h w", B=batch, K=self.num_landmarks, **size)
            check_shape("features", output.features, "B C h w", B=batch, C=self.feature_channels)
        except InputError as error:
            raise InputError(f"{error} {self._remedy(output)}") from None
        return output

    def _remedy(self, output: HeatmapOutput) -> str:
        if output.features is output.heatmaps:
            return (
                "The module returns heatmaps alone, which are its features, too: give feature_channels=num_landmarks."
            )
        return (
            "The module returns (heatmaps, features); correct the ModuleBackbone's num_landmarks "
            f"{self.num_landmarks}, stride {self.stride} or feature_channels {self.feature_channels}, or pass "
            "'output'. If it fits in other sizes of the input, give 'size_multiple'."
        )
