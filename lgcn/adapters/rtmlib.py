"""RTMPose of rtmlib: keypoints with a variance for each axis, from its SimCC outputs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lgcn.checks import InputError, check_positive, check_shape
from lgcn.typing import KeyPoints


class RTMPoseAdapter:
    """Runs an ``rtmlib.RTMPose`` and keeps what its call drops: how wide the distribution of each coordinate is.

    Args:
        pose: the model.
        sharpness: factor of the SimCC outputs before the softmax; 10 is what RTMPose is trained with.
        split_ratio: bins per pixel of the network's input.

    Raises:
        InputError: if it lacks one of the methods of an RTMPose.
    """

    def __init__(self, pose: Any, sharpness: float = 10.0, split_ratio: float = 2.0) -> None:
        for name in ("preprocess", "inference", "postprocess", "model_input_size"):
            if not hasattr(pose, name):
                raise InputError(f"Expected 'pose' to be an rtmlib.RTMPose ({type(pose).__name__} has no '{name}').")
        self.pose = pose
        self.sharpness = check_positive("sharpness", sharpness)
        self.split_ratio = check_positive("split_ratio", split_ratio)

    def __call__(self, image: Any, boxes: Sequence[Sequence[float]] = ()) -> KeyPoints:
        """Keypoints of one image, one row a box, in its pixels.

        Args:
            image: BGR, uint8 [H, W, 3], as rtmlib takes it.
            boxes: (x0, y0, x1, y1) of each person; the whole image if there are none.

        Returns:
            ``covariance`` [N, K, 2, 2] is diagonal: the variances of the two distributions.
        """
        height, width = image.shape[:2]
        points, scores, variances = [], [], []
        for box in boxes or [(0, 0, width, height)]:
            crop, centre, scale = self.pose.preprocess(image, list(box))
            outputs = self.pose.inference(crop)
            if len(outputs) != 2:
                raise InputError(f"Expected two SimCC outputs of the model, x and y (got {len(outputs)}).")
            found, score = self.pose.postprocess(outputs, centre, scale, self.split_ratio)
            points.append(torch.as_tensor(np.asarray(found), dtype=torch.float32))
            scores.append(torch.as_tensor(np.asarray(score), dtype=torch.float32))
            pixels = torch.as_tensor(np.asarray(scale) / np.asarray(self.pose.model_input_size), dtype=torch.float32)
            both = [self._variance(torch.as_tensor(np.asarray(each), dtype=torch.float32)) for each in outputs]
            variances.append(torch.stack(both, dim=-1) * pixels.square())
        pos, confidence = torch.cat(points), torch.cat(scores)
        check_shape("keypoints", pos, "N K 2")
        return KeyPoints(pos, confidence, torch.diag_embed(torch.cat(variances)))

    def _variance(self, simcc: Tensor) -> Tensor:
        """Variances [N, K] of distributions over bins [N, K, bins], square pixels of the network's input."""
        probability = (self.sharpness * simcc).softmax(-1)
        place = torch.arange(simcc.shape[-1]) / self.split_ratio
        mean = (probability * place).sum(-1, keepdim=True)
        return (probability * (place - mean).square()).sum(-1)
