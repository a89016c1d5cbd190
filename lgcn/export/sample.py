"""Crops of a face for checks of exported files where the user gives no images."""

import numpy as np
import torch
from torch import Tensor

from lgcn.export.metadata import ExportMetadata
from lgcn.geometry import crop_image

# The tight box around the 68 landmarks of scikit-image's astronaut, by eye.
_ASTRONAUT = (180.0, 87.0, 272.0, 179.0)
_SHIFT = 0.15
"""Largest shift and growth of that box, over its side."""


def sample_crops(metadata: ExportMetadata, count: int = 16) -> Tensor:
    """Crops uint8 [count, 3, H, W] of one photo, scikit-image's astronaut, from boxes moved and scaled at random.

    Args:
        metadata: has the crop.
        count: number of crops; the same ones every time.
    """
    # Imported only here: it is slow.
    from skimage.data import astronaut

    image = torch.from_numpy(np.array(astronaut())).permute(2, 0, 1)
    box = torch.tensor(_ASTRONAUT)
    moves = (2 * torch.rand(count, 4, generator=torch.Generator().manual_seed(0)) - 1) * _SHIFT
    boxes = box + moves * (box[2:] - box[:2]).repeat(2)
    return torch.stack([crop_image(image, each, metadata.input_size, **metadata.crop)[0] for each in boxes])
