"""ViTPose of transformers as a backbone."""

from typing import Any

import torch
from torch import Tensor, nn

from lgcn.backbones import Backbone
from lgcn.checks import InputError, check_flag, check_shape
from lgcn.typing import HeatmapOutput


class ViTPoseBackbone(Backbone):
    """``transformers.VitPoseForPoseEstimation`` with the interface of a backbone: its heatmaps and its last features.

    Args:
        model: the model.
        dataset_index: expert of a ViTPose+ model (with ``num_experts`` > 1).
        frozen: keep it in eval mode and its parameters without gradients.

    Raises:
        InputError: if the model has no ``backbone`` or ``head`` of this kind.
    """

    def __init__(self, model: nn.Module, dataset_index: int | None = None, frozen: bool = True) -> None:
        super().__init__()
        for name in ("backbone", "head", "config"):
            if not hasattr(model, name):
                raise InputError(
                    f"Expected 'model' to be a VitPoseForPoseEstimation ({type(model).__name__} has no '{name}')."
                )
        config: Any = model.config
        vit = config.backbone_config
        self.model = model
        self.dataset_index = dataset_index
        self.frozen = check_flag("frozen", frozen)
        self.num_landmarks = config.num_labels
        self.feature_channels = vit.hidden_size
        patch = vit.patch_size[0] if isinstance(vit.patch_size, (list, tuple)) else vit.patch_size
        # The classic head has two deconvolutions of stride 2.
        self.stride = patch // (config.scale_factor if config.use_simple_decoder else 4)
        size = vit.image_size if isinstance(vit.image_size, (list, tuple)) else (vit.image_size, vit.image_size)
        self.image_size = (int(size[0]), int(size[1]))
        self._grid = (self.image_size[0] // patch, self.image_size[1] // patch)
        if frozen:
            model.requires_grad_(False)
            model.eval()

    def train(self, mode: bool = True) -> "ViTPoseBackbone":
        """Set the mode; a frozen model stays in eval mode."""
        super().train(mode)
        if self.frozen:
            self.model.eval()
        return self

    def forward(self, images: Tensor) -> HeatmapOutput:
        height, width = self.image_size
        check_shape("images", images, "B 3 H W", H=height, W=width)
        seen: list[Any] = []
        backbone: Any = self.model.backbone
        handle = backbone.register_forward_hook(lambda module, inputs, output: seen.append(output))
        index = None
        if self.dataset_index is not None:
            index = torch.full((len(images),), self.dataset_index, device=images.device)
        try:
            heatmaps = self.model(images, dataset_index=index).heatmaps
        finally:
            handle.remove()
        tokens = seen[0].feature_maps[-1]
        features = tokens.transpose(1, 2).unflatten(2, self._grid)
        size = {"h": height // self.stride, "w": width // self.stride}
        check_shape("heatmaps", heatmaps, "B K h w", B=len(images), K=self.num_landmarks, **size)
        return HeatmapOutput(heatmaps, features)
