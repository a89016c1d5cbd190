"""Degradations of face crops: patches, blur, darkness. Landmarks are unchanged."""

import math

import torch
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform
from torchvision.transforms import v2

from lgcn.geometry import landmark_box


class FacePatch(BaseTransform):
    """Covers a rectangle of the tight box around the landmarks with noise or with one colour.

    Unlike :class:`lgcn.transforms.RandomOcclusion`, which covers any part of the crop, the patch lies within the face:
    its size determines how much of the face is hidden.

    Args:
        low: smallest covered fraction of the box's area.
        high: largest; each patch draws a value in between.
    """

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def forward(self, data: Data) -> Data:
        share, shape, down, right, fill = torch.rand(5).tolist()
        left_edge, top_edge, right_edge, bottom_edge = landmark_box(data.y).tolist()
        share = self.low + (self.high - self.low) * share
        # Height and width as fractions of the box's, at most a factor of two apart.
        tall = min(1.0, max(share, math.sqrt(share) * 2 ** (shape - 0.5)))
        height, width = tall * (bottom_edge - top_edge), share / max(tall, 1e-6) * (right_edge - left_edge)
        top = top_edge + down * (bottom_edge - top_edge - height)
        left = left_edge + right * (right_edge - left_edge - width)
        full_height, full_width = data.image.shape[-2:]
        y0, y1 = (min(full_height, max(0, round(edge))) for edge in (top, top + height))
        x0, x1 = (min(full_width, max(0, round(edge))) for edge in (left, left + width))
        if y1 > y0 and x1 > x0:
            size = (y1 - y0, x1 - x0) if fill < 0.5 else (1, 1)
            patch = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
            data.image = v2.functional.erase(data.image, y0, x0, y1 - y0, x1 - x0, patch)
        return data

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.low}, {self.high})"


class Blur(BaseTransform):
    """A Gaussian blur.

    Args:
        low: smallest standard deviation, pixels of the crop.
        high: largest.
    """

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def forward(self, data: Data) -> Data:
        sigma = self.low + (self.high - self.low) * torch.rand(()).item()
        data.image = v2.functional.gaussian_blur(data.image, 2 * math.ceil(3 * sigma) + 1, max(sigma, 0.01))
        return data

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.low}, {self.high})"


class Darkness(BaseTransform):
    """Underexposure with sensor noise: ``light * x + noise``, rounded to grey levels in 0 ... 255.

    Args:
        low: smallest fraction of the light that remains.
        high: largest.
        noise: standard deviation, grey levels.
    """

    def __init__(self, low: float, high: float, noise: float = 5.0) -> None:
        self.low, self.high, self.noise = low, high, noise

    def forward(self, data: Data) -> Data:
        light = self.low + (self.high - self.low) * torch.rand(()).item()
        dark = light * data.image.float() + self.noise * torch.randn(data.image.shape)
        data.image = dark.round().clamp(0, 255).to(torch.uint8)
        return data

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.low}, {self.high}, noise={self.noise})"


class OneOf(BaseTransform):
    """One of several transforms with equal probability; None leaves the face unchanged.

    Args:
        transforms: candidates.
    """

    def __init__(self, transforms: list[BaseTransform | None]) -> None:
        self.transforms = transforms

    def forward(self, data: Data) -> Data:
        chosen = self.transforms[int(torch.randint(len(self.transforms), ()))]
        return data if chosen is None else chosen(data)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.transforms})"


CONDITIONS: dict[str, BaseTransform | None] = {
    "clean": None,
    "patch 20 %": FacePatch(0.2, 0.2),
    "patch 40 %": FacePatch(0.4, 0.4),
    "blur 2 px": Blur(2.0, 2.0),
    "blur 4 px": Blur(4.0, 4.0),
    "dark 1/4": Darkness(0.25, 0.25),
    "dark 1/10": Darkness(0.1, 0.1),
}
"""Degradations of the test faces, in the order of the tables."""

REGIMES: dict[str, BaseTransform | None] = {
    "clean": None,
    "patches": FacePatch(0.0, 0.5),
    "mixed": OneOf([None, FacePatch(0.0, 0.5), Blur(0.0, 4.0), Darkness(0.1, 0.5)]),
}
"""Degradations of the training crops, in addition to the recipe's affine and colour augmentation."""
