"""Keypoint R-CNN of torchvision: keypoints, probabilities, RoI heatmaps and features."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lgcn.checks import InputError, check_number
from lgcn.typing import KeyPoints


class KeypointRCNNAdapter:
    """Runs ``torchvision.models.detection.keypointrcnn_resnet50_fpn`` or another model with its ``roi_heads``.

    torchvision's scores are logits at the maximum; the confidence here is a probability: what a softmax over the cells
    of a person's heatmap puts within one cell of its maximum. Positions are as the model returns them.

    Args:
        model: the model; it is set to eval mode.
        min_score: persons with a lower score are left out.

    Raises:
        InputError: if the model has no ``roi_heads.keypoint_head`` and ``keypoint_predictor``.
    """

    def __init__(self, model: nn.Module, min_score: float = 0.5) -> None:
        for name in ("keypoint_head", "keypoint_predictor"):
            if not isinstance(getattr(getattr(model, "roi_heads", None), name, None), nn.Module):
                raise InputError(
                    f"Expected 'model' to be a keypoint R-CNN of torchvision ({type(model).__name__} has no "
                    f"roi_heads.{name})."
                )
        self.model = model.eval()
        self.min_score = check_number("min_score", min_score, 0.0, 1.0)

    @torch.no_grad()
    def __call__(self, images: Sequence[Tensor]) -> list[KeyPoints]:
        """The persons of each image, in its pixels.

        Args:
            images: RGB [3, H, W], floating point in [0, 1], of any sizes.

        Returns:
            ``heatmaps`` [N, K, h, w] are logits over the person's box, ``features`` [N, K, C] those of the keypoint
            head at the landmarks.
        """
        seen: dict[str, Any] = {}

        def keep(name: str) -> Any:
            return lambda module, inputs, output: seen.__setitem__(name, output)

        heads: Any = self.model.roi_heads
        handles = [
            getattr(heads, name).register_forward_hook(keep(name)) for name in ("keypoint_head", "keypoint_predictor")
        ]
        try:
            found = self.model(list(images))
        finally:
            for handle in handles:
                handle.remove()
        counts = [len(people["boxes"]) for people in found]
        maps = seen["keypoint_predictor"].split(counts)
        features = seen["keypoint_head"].split(counts)
        return [self._keypoints(*each) for each in zip(found, maps, features, strict=True)]

    def _keypoints(self, people: dict[str, Tensor], heatmaps: Tensor, features: Tensor) -> KeyPoints:
        kept = people["scores"] >= self.min_score
        pos, boxes = people["keypoints"][kept][..., :2], people["boxes"][kept].unsqueeze(1)
        heatmaps = heatmaps[kept]
        # In [-1, 1] over the box, as grid_sample wants it.
        relative = 2 * (pos - boxes[..., :2]) / (boxes[..., 2:] - boxes[..., :2]).clamp_min(1.0) - 1
        sampled = F.grid_sample(
            features[kept], relative.unsqueeze(1), padding_mode="border", align_corners=False
        ).squeeze(2)
        return KeyPoints(pos, peak_probability(heatmaps), None, heatmaps, sampled.transpose(1, 2))


def peak_probability(logits: Tensor) -> Tensor:
    """Probability [N, K] within one cell of the maximum of logits [N, K, h, w], by a softmax over the cells."""
    probability = logits.flatten(2).softmax(-1).view_as(logits)
    near = F.avg_pool2d(probability, 3, stride=1, padding=1) * 9
    place = logits.flatten(2).argmax(-1, keepdim=True)
    return near.flatten(2).gather(-1, place).squeeze(-1).clamp(0.0, 1.0)
