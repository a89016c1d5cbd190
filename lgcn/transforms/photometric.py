"""Transforms of the crop's pixels that do not move landmarks."""

import math

import torch
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform
from torchvision.transforms import v2

from lgcn.checks import InputError, check_number, check_pair
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


class RandomOcclusion(BaseTransform):
    """Covers a random rectangle of ``image`` uint8 [1, 3, h, w] with noise or with a random colour.

    ``visibility`` is unchanged: an occluded landmark is still annotated and has to be predicted.

    Args:
        probability: probability of an occlusion.
        area: range of the covered fraction of the crop.
        aspect: the ratio of height to width of the rectangle is drawn log-uniformly from [1 / aspect, aspect].
        noise: probability of noise instead of one colour.

    Raises:
        InputError: for an invalid range or probability.
    """

    def __init__(
        self,
        probability: float = 0.5,
        area: tuple[float, float] = (0.02, 0.25),
        aspect: float = 3.0,
        noise: float = 0.5,
    ) -> None:
        check_probability("probability", probability)
        check_probability("noise", noise)
        low, high = check_pair("area", area)
        if not 0 < low <= high <= 1:
            raise InputError(f"Expected 'area' to be a range (low, high) within (0, 1] (got {area}).")
        check_number("aspect", aspect, 1)
        self.probability = probability
        self.area = (low, high)
        self.aspect = aspect
        self.noise = noise

    def forward(self, data: Data) -> Data:
        check_image(data)
        chance, share, shape, down, right, fill = torch.rand(6).tolist()
        if chance >= self.probability:
            return data
        image = data.image
        full_height, full_width = image.shape[-2:]
        low, high = self.area
        pixels = (low + (high - low) * share) * full_height * full_width
        aspect = self.aspect ** (2 * shape - 1)
        height = min(full_height, max(1, round(math.sqrt(pixels * aspect))))
        width = min(full_width, max(1, round(pixels / height)))
        top, left = int(down * (full_height - height + 1)), int(right * (full_width - width + 1))
        size = (height, width) if fill < self.noise else (1, 1)
        patch = torch.randint(0, 256, (image.shape[-3], *size), dtype=torch.uint8)
        data.image = v2.functional.erase(image, top, left, height, width, patch)
        return data

    def __repr__(self) -> str:
        return f"{type(self).__name__}(probability={self.probability}, area={self.area})"
