"""Convert images of any kind to uint8 RGB tensors."""

import io
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lgcn.checks import InputError
from lgcn.images.metadata import load, turn_upright
from lgcn.images.pixels import to_rgb
from lgcn.images.read import MAX_PIXELS, read_as
from lgcn.images.sixteen_bit import is_16_bit_colour, load_low_bytes, stored_mode

ImageLike = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray | Tensor
"""What :func:`as_image_tensor` takes."""


def as_image_tensor(image: ImageLike, *, max_pixels: int | None = MAX_PIXELS, name: str = "image") -> Tensor:
    """Convert a path, file content, Pillow image, array or tensor to uint8 [3, H, W] in RGB.

    Args:
        image: path of an image file, its content as bytes or a binary stream (read to its end), Pillow image, uint8
            array [H, W, 3] or uint8 tensor [3, H, W]; arrays and tensors hold RGB (reverse the channels of OpenCV's BGR
            first).
        max_pixels: of files, as for :func:`read_image`.
        name: what messages call an image that is not a path.

    Raises:
        InputFileError: if a path cannot be read.
        InputError: for any other type, shape or number type; the message says how to convert.
    """
    if isinstance(image, str | os.PathLike):
        return read_as(Path(image), f"'{os.fspath(image)}'", max_pixels)
    if isinstance(image, bytes):
        return read_as(image, f"the bytes given as '{name}'", max_pixels)
    if isinstance(image, Image.Image):
        return image_to_tensor(image, name=name)
    if hasattr(image, "read"):
        return as_image_tensor(read_stream(image, name=name), max_pixels=max_pixels, name=name)
    if isinstance(image, np.ndarray):
        _check_pixels(
            name, "an array", "[H, W, 3]", image.shape, -1, str(image.dtype), "(255 * image).round().astype('uint8')"
        )
        # Torch warns of arrays that may not be written to, and refuses negative strides.
        usable = image.flags.writeable and all(stride > 0 for stride in image.strides)
        return torch.from_numpy(image if usable else image.copy()).permute(2, 0, 1).contiguous()
    if isinstance(image, Tensor):
        dtype = str(image.dtype).removeprefix("torch.")
        _check_pixels(
            name, "a tensor", "[3, H, W]", tuple(image.shape), 0, dtype, "(255 * image).round().to(torch.uint8)"
        )
        return image
    raise InputError(
        f"Expected '{name}' to be a path, bytes, a binary stream, a Pillow image, a uint8 array [H, W, 3] or a uint8 "
        "tensor [3, H, W] "
        f"(got {type(image).__name__})."
    )


def read_stream(stream: Any, *, name: str = "image") -> bytes:
    """The rest of a binary stream.

    Raises:
        InputError: for a stream of text; ``name`` is what the message calls it.
    """
    content = stream.read()
    if not isinstance(content, bytes):
        raise InputError(f"Expected '{name}' to be a binary stream (got {type(content).__name__}). Open it as 'rb'.")
    return content


def image_to_tensor(image: Image.Image, *, name: str = "image") -> Tensor:
    """Convert a Pillow image of any mode to uint8 [3, H, W] as :func:`read_image` does; the image is not changed.

    Args:
        image: decoded now, if it is a file that was only opened.
        name: what messages call it.

    Raises:
        InputError: if its pixels cannot be decoded, or are of a kind that cannot be converted.
    """
    try:
        stored = stored_mode(image)
        # Only a file that is not decoded yet still has them.
        content = _content(image) if is_16_bit_colour(image, stored) else b""
        orientation = load(image)
        low_bytes = load_low_bytes(image, stored, lambda: _open_frame(content, image.tell()))
        return turn_upright(to_rgb(image, f"'{name}'", low_bytes), orientation)
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        raise InputError(
            f"Expected '{name}' to be a Pillow image that can be decoded (got {type(error).__name__}: {error})."
        ) from error


def _content(image: Image.Image) -> bytes:
    """The file that an image is going to be decoded from."""
    file = image.fp  # type: ignore[attr-defined]
    position = file.tell()
    file.seek(0)
    content: bytes = file.read()
    file.seek(position)
    return content


def _open_frame(content: bytes, number: int) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.seek(number)
    return image


def _check_pixels(
    name: str, kind: str, form: str, shape: tuple[int, ...], axis: int, dtype: str, to_8_bit: str
) -> None:
    """Raise :class:`InputError` unless the shape is ``form`` without empty axes and the numbers are uint8."""
    if len(shape) != 3 or shape[axis] != 3 or 0 in shape:
        other = len(shape) == 3 and shape[-1 - axis] == 3
        swap = " Swap the axes: " + ("image.permute(2, 0, 1)." if axis == 0 else "image.transpose(1, 2, 0).")
        remedy = swap if other else " Give one image with three channels (R, G, B)."
        raise InputError(f"Expected '{name}', {kind}, to have shape {form} (got {list(shape)}).{remedy}")
    if dtype != "uint8":
        values = "in [0, 1] " if dtype.startswith(("float", "bfloat")) else ""
        raise InputError(
            f"Expected '{name}', {kind}, to hold uint8 values 0..255 (got {dtype}). "
            + (f"For values {values}use {to_8_bit}." if values else "Scale it to 0..255 and convert it to uint8.")
        )
