"""Refine points with a saved refiner, in one call."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lgcn.models.shape_config import OUTLIER_SHARE, Refinement
from lgcn.models.shape_refiner import ShapeRefiner
from lgcn.typing import KeyPoints


def refine(
    keypoints: KeyPoints | Tensor,
    model: str | Path | ShapeRefiner,
    drop_outliers: int = 0,
    outlier_share: float = OUTLIER_SHARE,
    **download: Any,
) -> Refinement:
    """Improves the points of any detector: the errors of all landmarks together, missing ones filled in, outliers.

    Args:
        keypoints: landmarks [N, K, 2] in pixels of any image, NaN where missing, or :class:`lgcn.typing.KeyPoints`.
        model: folder or hub id of a saved :class:`ShapeRefiner`, or one that is loaded already.
        drop_outliers: see :meth:`ShapeRefiner.forward`.
        outlier_share: likewise.
        **download: arguments of :func:`huggingface_hub.hf_hub_download`.

    Raises:
        InputError: if the points do not fit the refiner.
        InputFileError: if there is no such refiner.
    """
    refiner = model if isinstance(model, ShapeRefiner) else ShapeRefiner.from_pretrained(model, **download)
    given = keypoints if isinstance(keypoints, KeyPoints) else KeyPoints(keypoints)
    with torch.no_grad():
        return refiner(given, drop_outliers, outlier_share)
