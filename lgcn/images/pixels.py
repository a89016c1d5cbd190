"""Pixels of decoded Pillow images of any mode, as 8-bit RGB."""

import warnings
from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lgcn.checks import InputError

_MODES_16_BIT = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_MODES_WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_SIGNIFICANT_BITS = (8, 10, 12, 14, 16)

_STRIP = 2**20
"""Pixels that are converted at a time, so that no second copy of a large image is made."""


class PixelRangeWarning(UserWarning):
    """A 16-bit image uses so little of its range that it was stretched."""


def to_rgb(image: Image.Image, name: str, low_bytes: Image.Image | None = None) -> Tensor:
    """The pixels of a loaded image as uint8 [3, H, W].

    Args:
        image: of any mode.
        name: what warnings call the image.
        low_bytes: of 16-bit colours, of which Pillow keeps the high bytes only: the low bytes, in the same mode.

    Raises:
        InputError: for floating-point pixels, and integers that do not fit into 16 bits.
    """
    if image.mode == "F":
        least, most = image.getextrema()
        raise InputError(
            f"Expected integer pixels (got floating point, from {least:.4g} to {most:.4g}). Convert them to 8 bits."
        )
    # Not 'image.size', which disagrees in a TIFF that is not turned yet.
    width, height = image.im.size
    rgb = torch.empty(3, height, width, dtype=torch.uint8)
    top = _white(image, name, low_bytes)
    for y0, y1 in _strips(width, height):
        if top is None:
            pixels = np.array(_strip_to_rgb(image.crop((0, y0, width, y1))))
        else:
            values = _values(image, low_bytes, y0, y1)
            pixels = ((values.astype(np.uint32) * 255 + top // 2) // top).astype(np.uint8)
        pixels = pixels if pixels.ndim == 3 else pixels[..., None]
        rgb[:, y0:y1] = torch.from_numpy(pixels).permute(2, 0, 1)
    return rgb


def _strip_to_rgb(strip: Image.Image) -> Image.Image:
    if strip.mode in _MODES_WITH_ALPHA or "transparency" in strip.info:
        strip = strip.convert("LA") if strip.mode == "La" else strip
        strip = strip.convert("RGBA")
        strip = Image.alpha_composite(Image.new("RGBA", strip.size, (0, 0, 0, 255)), strip)
    return strip if strip.mode == "RGB" else strip.convert("RGB")


def _white(image: Image.Image, name: str, low_bytes: Image.Image | None) -> int | None:
    """The value that stands for white in an image of more than 8 bits; None for one of 8 bits."""
    if image.mode not in _MODES_16_BIT and low_bytes is None:
        return None
    width, height = image.im.size
    strips = (_values(image, low_bytes, y0, y1) for y0, y1 in _strips(width, height))
    extremes = [(int(values.min()), int(values.max())) for values in strips]
    least, most = min(each[0] for each in extremes), max(each[1] for each in extremes)
    if least < 0 or most > 65535:
        raise InputError(f"Expected 16-bit pixels in 0..65535 (got {least}..{most}). Convert them to 8 bits.")
    bits = next(bits for bits in _SIGNIFICANT_BITS if most < 2**bits)
    if bits == 16 or most == 0:
        return 65535
    warnings.warn(
        f"The largest value of the 16-bit image {name} is {most}: it is read as {bits}-bit and stretched. "
        "Convert it to 8 bits if that is wrong.",
        PixelRangeWarning,
        stacklevel=2,
    )
    return int(2**bits - 1)


def _values(image: Image.Image, low_bytes: Image.Image | None, y0: int, y1: int) -> np.ndarray:
    """Rows y0 ... y1 - 1 as integers, [h, W] or [h, W, 3]."""
    box = (0, y0, image.im.size[0], y1)
    if low_bytes is None:
        return np.asarray(image.crop(box))
    high, low = (np.asarray(each.crop(box))[..., :3].astype(np.uint16) for each in (image, low_bytes))
    return high * np.uint16(256) + low


def _strips(width: int, height: int) -> Iterator[tuple[int, int]]:
    rows = max(1, _STRIP // max(1, width))
    return ((y, min(y + rows, height)) for y in range(0, height, rows))
