"""Pictures in, uint8 RGB tensors out, whatever the file's mode."""

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from lgcn.checks import InputError, InputFileError

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Suffixes, in lower case, by which folders are searched for pictures."""

ImageLike = str | os.PathLike[str] | Image.Image | np.ndarray | Tensor
"""What :func:`as_image_tensor` takes."""

_MODES_16_BIT = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_MODES_WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")


def read_image(path: str | os.PathLike[str]) -> Tensor:
    """Reads a picture as 8-bit RGB, turned the way its EXIF orientation says.

    Grey, palette, CMYK and 1-bit pictures are converted; 16-bit ones are scaled to 8 bits;
    transparent ones are laid on black, which is also what lies outside a picture in a crop. Of
    files with several frames the first is read.

    Args:
        path: any file that Pillow decodes.

    Returns:
        uint8 [3, H, W].

    Raises:
        InputFileError: if the file is missing, may not be read, is no picture, or breaks off in the middle.
    """
    path = Path(path)
    try:
        with Image.open(path) as image:
            return image_to_tensor(image)
    except FileNotFoundError:
        raise InputFileError(f"Expected a picture at '{path}' (there is no such file).") from None
    except IsADirectoryError:
        raise InputFileError(f"Expected a picture at '{path}' (it is a folder). Name a file in it.") from None
    except PermissionError:
        raise InputFileError(f"Expected a picture at '{path}' (you may not read it). Change its permissions.") from None
    except UnidentifiedImageError:
        raise InputFileError(
            f"Expected a picture in '{path}' (its content is none that Pillow knows). "
            "Check what the file really is, and convert it to JPEG or PNG."
        ) from None
    except InputError as error:
        raise InputFileError(f"Cannot use the picture '{path}'. {error}") from None
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        raise InputFileError(
            f"Expected a whole picture in '{path}' (decoding failed: {error}). "
            "The file is damaged or cut off: copy or download it again."
        ) from error


def image_to_tensor(image: Image.Image) -> Tensor:
    """Converts an opened Pillow image of any mode as :func:`read_image` says, to uint8 [3, H, W].

    Its EXIF orientation is applied in place: pass a copy to keep the image as it is.
    """
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode in _MODES_16_BIT:
        image = Image.fromarray(_to_8_bit(np.asarray(image)))
    elif image.mode == "F":
        raise InputError("Expected integer pixels (got floating point, of unknown range). Convert them to 8 bits.")
    if image.mode in _MODES_WITH_ALPHA or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    if image.mode != "RGB":
        image = image.convert("RGB")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def as_image_tensor(image: ImageLike) -> Tensor:
    """Brings a path, a Pillow image, an array or a tensor to uint8 [3, H, W] in RGB.

    Args:
        image: path of a picture, Pillow image, uint8 array [H, W, 3] or uint8 tensor [3, H, W];
            arrays and tensors hold RGB (reverse the channels of OpenCV's BGR first).

    Raises:
        InputFileError: if a path cannot be read.
        InputError: for any other type, shape or number type; the message says how to convert.
    """
    if isinstance(image, str | os.PathLike):
        return read_image(image)
    if isinstance(image, Image.Image):
        return image_to_tensor(image.copy())
    if isinstance(image, np.ndarray):
        _check_pixels(
            "an array", "[H, W, 3]", image.shape, -1, str(image.dtype), "(255 * image).round().astype('uint8')"
        )
        return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).contiguous()
    if isinstance(image, Tensor):
        dtype = str(image.dtype).removeprefix("torch.")
        _check_pixels("a tensor", "[3, H, W]", tuple(image.shape), 0, dtype, "(255 * image).round().to(torch.uint8)")
        return image
    raise InputError(
        "Expected 'image' to be a path, a Pillow image, a uint8 array [H, W, 3] or a uint8 tensor [3, H, W] "
        f"(got {type(image).__name__})."
    )


def _to_8_bit(pixels: np.ndarray) -> np.ndarray:
    """[0, 65535] -> [0, 255], rounded."""
    if pixels.size and (pixels.min() < 0 or pixels.max() > 65535):
        raise InputError(
            f"Expected 16-bit pixels in 0..65535 (got {pixels.min()}..{pixels.max()}). Convert them to 8 bits."
        )
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _check_pixels(kind: str, form: str, shape: tuple[int, ...], axis: int, dtype: str, to_8_bit: str) -> None:
    """Raises :class:`InputError` unless the shape is ``form`` without empty axes and the numbers are uint8."""
    if len(shape) != 3 or shape[axis] != 3 or 0 in shape:
        other = len(shape) == 3 and shape[-1 - axis] == 3
        swap = " Swap the axes: " + ("image.permute(2, 0, 1)." if axis == 0 else "image.transpose(1, 2, 0).")
        remedy = swap if other else " Give one picture with three channels (R, G, B)."
        raise InputError(f"Expected 'image', {kind}, to have shape {form} (got {list(shape)}).{remedy}")
    if dtype != "uint8":
        values = "in [0, 1] " if dtype.startswith(("float", "bfloat")) else ""
        raise InputError(
            f"Expected 'image', {kind}, to hold uint8 values 0..255 (got {dtype}). "
            + (f"For values {values}use {to_8_bit}." if values else "Scale it to 0..255 and convert it to uint8.")
        )
