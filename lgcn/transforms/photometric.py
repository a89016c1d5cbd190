"""Random changes of the crop's colours."""

import torch
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform
from torchvision.transforms import v2

from lgcn.checks import check_number
from lgcn.transforms.fields import check_image, check_probability


class ColorJitter(BaseTransform):
    """Randomly changes brightness, contrast, saturation and hue of ``image`` uint8 [1, 3, h, w], or makes it grey.

    Args:
        brightness: the factor is drawn from [1 - brightness, 1 + brightness].
        contrast: as ``brightness``.
        saturation: as ``brightness``.
        hue: the shift is drawn from [-hue, hue], as a fraction of the colour circle, at most 0.5.
        hue_probability: probability of a shift of hue, which takes several times as long as the other changes.
        grayscale: probability of a grey image.
        probability: probability of any change.

    Raises:
        InputError: for a strength or probability out of range.
    """

    def __init__(
        self,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.4,
        hue: float = 0.05,
        hue_probability: float = 0.2,
        grayscale: float = 0.05,
        probability: float = 1.0,
    ) -> None:
        for name, strength in (("brightness", brightness), ("contrast", contrast), ("saturation", saturation)):
            check_number(name, strength, 0)
        check_number("hue", hue, 0, 0.5)
        check_probability("hue_probability", hue_probability)
        check_probability("grayscale", grayscale)
        check_probability("probability", probability)
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.hue = hue
        self.grayscale = grayscale
        self.probability = probability
        self.jitter = v2.Compose(
            [
                v2.ColorJitter(brightness=brightness, contrast=contrast, saturation=saturation),
                v2.RandomApply([v2.ColorJitter(hue=hue)], p=hue_probability),
                v2.RandomGrayscale(p=grayscale),
            ]
        )

    def forward(self, data: Data) -> Data:
        check_image(data)
        if torch.rand(()).item() < self.probability:
            data.image = self.jitter(data.image)
        return data

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(brightness={self.brightness}, contrast={self.contrast}, "
            f"saturation={self.saturation}, hue={self.hue}, grayscale={self.grayscale})"
        )
