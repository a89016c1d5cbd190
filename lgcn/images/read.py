"""Read image files."""

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from torch import Tensor

from lgcn.checks import InputError, InputFileError
from lgcn.images.heic import has_heic, is_heic, register_heic
from lgcn.images.metadata import load, pillow_state, quiet_pillow, turn_upright, without_metadata
from lgcn.images.pixels import to_rgb
from lgcn.images.sixteen_bit import load_low_bytes, stored_mode
from lgcn.images.unidentified import reason_not_opened

MAX_PIXELS = 2**27
"""Pixels of the largest image that is read by default, 134 million; decoding takes up to 1 GB for them."""


def read_image(path: str | os.PathLike[str], *, max_pixels: int | None = MAX_PIXELS) -> Tensor:
    """Read an image file as 8-bit RGB, with its EXIF orientation applied.

    Grey, palette, CMYK and 1-bit images are converted; transparent ones are composited on black, which also
    fills crops outside the image. 16-bit images are scaled to 8 bits; where their values fit into 8, 10, 12 or 14 bits
    they are stretched, with a :class:`PixelRangeWarning`. The first frame of several is read. Metadata that is
    damaged or too long is ignored.

    Args:
        path: any file that Pillow decodes; HEIC photos need the package pillow-heif.
        max_pixels: images of more pixels are refused before they are decoded; None reads any. Replaces Pillow's own
            ``Image.MAX_IMAGE_PIXELS``.

    Returns:
        uint8 [3, H, W].

    Raises:
        InputFileError: if the file is missing, may not be read, is not an image, is too large, or breaks off.
    """
    return read_as(Path(path), f"'{os.fspath(path)}'", max_pixels)


def read_as(source: Path | bytes, name: str, max_pixels: int | None) -> Tensor:
    """Read an image from a path or the content of a file, as :func:`read_image` does; ``name`` is for messages."""
    try:
        if isinstance(source, Path) and source.is_fifo():
            # A pipe can be read only once, such as the /dev/fd/63 of a shell's <(command).
            source = source.read_bytes()
        rgb, orientation = _read(source, name, max_pixels)
        return turn_upright(rgb, orientation)
    except FileNotFoundError:
        # A path object has made one slash of two.
        if re.match(r"[a-z][a-z0-9+.-]+:/", str(source), re.IGNORECASE):
            raise InputFileError(
                f"Expected an image at {name} (URLs are not read). Download it first, and give its path or its bytes."
            ) from None
        raise InputFileError(f"Expected an image at {name} (there is no such file).") from None
    except IsADirectoryError:
        raise InputFileError(f"Expected an image at {name} (it is a folder). Name a file in it.") from None
    except PermissionError:
        raise InputFileError(f"Expected an image at {name} (you may not read it). Change its permissions.") from None
    except UnidentifiedImageError:
        if is_heic(source) and not has_heic():
            raise InputFileError(
                f"Expected pillow-heif, which reads HEIC photos such as {name} (it is not installed). "
                "pip install 'lgcn[heic]'"
            ) from None
        if not (source if isinstance(source, bytes) else source.stat().st_size):
            raise InputFileError(f"Expected an image in {name} (it is empty). Copy or download it again.") from None
        reason = reason_not_opened(source)
        if reason is not None:
            raise InputFileError(
                f"Expected an image in {name} that Pillow can read ({reason}). "
                "If the file is damaged or cut off, copy or download it again; else convert it to 8-bit JPEG or PNG."
            ) from None
        raise InputFileError(
            f"Expected an image in {name} (Pillow does not recognise the format). "
            "Check the type of the file, and convert it to JPEG or PNG."
        ) from None
    except InputError as error:
        raise InputFileError(f"Cannot use the image {name}. {error}") from None
    except MemoryError:
        raise InputFileError(f"Expected enough memory to decode the image {name} (got too little).") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        reason = getattr(error, "strerror", None)
        if reason:
            raise InputFileError(f"Expected to be able to read the image {name} (got: {reason}).") from error
        raise InputFileError(
            f"Expected a whole image in {name} (Pillow cannot decode it: {_in_one_line(error)}). "
            "If the file is damaged or cut off, copy or download it again; else convert it to JPEG or PNG."
        ) from error


def _in_one_line(error: Exception) -> str:
    """What an error says, without the line breaks and the full stop of libraries below Pillow."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _read(source: Path | bytes, name: str, max_pixels: int | None) -> tuple[Tensor, int]:
    """The stored pixels, and the EXIF orientation still to be applied."""
    try:
        image = _open(source, max_pixels)
    except InputError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        stripped = without_metadata(source if isinstance(source, bytes) else source.read_bytes())
        if stripped is None:
            raise
        source = stripped
        try:
            image = _open(source, max_pixels)
        except InputError:
            raise
        except Exception:
            raise error from None
    with image:
        stored = stored_mode(image)
        with _pillow_takes(image.size[0] * image.size[1]):
            orientation = load(image)
        low_bytes = load_low_bytes(image, stored, lambda: _open(source, max_pixels))
        return to_rgb(image, name, low_bytes), orientation


def _open(source: Path | bytes, max_pixels: int | None) -> Image.Image:
    if is_heic(source):
        register_heic()
    with _pillow_takes(None), quiet_pillow():
        image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
    width, height = image.size
    if max_pixels is not None and width * height > max_pixels:
        image.close()
        raise InputError(
            f"Expected at most {max_pixels:,} pixels (got {width} x {height} = {width * height:,}). Shrink the image, "
            "or raise the limit: 'max_pixels', on the command line '--max-pixels'."
        )
    return image


@contextmanager
def _pillow_takes(pixels: int | None) -> Iterator[None]:
    """Suspends Pillow's own limit, which warns from 89 million pixels on: ours has been checked already.

    The limit is global. It is held for headers, which takes no time, and for the decoding of such large images.
    """
    if pixels is not None and (Image.MAX_IMAGE_PIXELS is None or pixels <= Image.MAX_IMAGE_PIXELS):
        yield
        return
    with pillow_state:
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit
