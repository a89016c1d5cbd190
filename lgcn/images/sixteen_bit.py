"""16 bits a channel in Pillow: the low bytes of colours, which it drops, and TIFF layouts that it misreads."""

from collections.abc import Callable
from sys import byteorder
from typing import Any

from PIL import Image, TiffImagePlugin

from lgcn.checks import InputError
from lgcn.images.metadata import load

_OTHER_BYTE = {"B": "L", "L": "B", "N": "B" if byteorder == "little" else "L"}
_BITS, _PHOTOMETRIC, _PLANAR = 258, 262, 284


def stored_mode(image: Any) -> str:
    """How the pixels of an image are stored, as Pillow calls it: ``RGB;16B``; empty once they are decoded.

    Pillow reads each 16-bit sample of an uncompressed TIFF with one plane a channel as two of 8 bits; that is
    corrected first.

    Raises:
        InputError: for 16-bit grey of which 0 is white, which Pillow does not invert.
    """
    tiles = getattr(image, "tile", None)
    if not tiles:
        return ""
    tags: Any = getattr(image, "tag_v2", {}) if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    if 16 in tags.get(_BITS, ()):
        if tags.get(_PHOTOMETRIC) == 0 and image.mode != "1":
            raise InputError("Expected 16-bit pixels of which 0 is black (got WhiteIsZero). Convert them to 8 bits.")
        if tags.get(_PLANAR) == 2:
            order = ";16" + ("L" if image.tag_v2._endian == "<" else "B")
            tiles = [_with_rawmode(tile, lambda raw: raw + order if len(raw) == 1 else raw) for tile in tiles]
            image.tile = tiles
    return _rawmode(tiles[0])


def load_low_bytes(image: Image.Image, stored: str, reopen: Callable[[], Any]) -> Image.Image | None:
    """The low byte of each value of 16-bit colours, where the high bytes may have lost what can be seen.

    Args:
        image: decoded.
        stored: its :func:`stored_mode` before.
        reopen: opens it again.

    Returns:
        An image in the mode of ``image``; None unless no value needs more than 14 bits.

    Raises:
        InputError: if Pillow cannot decode them.
    """
    if not is_16_bit_colour(image, stored) or not _is_dark(image):
        return None
    again = reopen()
    stored_mode(again)
    # Pillow keeps the first byte of each value, and so the low one if it is told the other order of bytes.
    tiles = again.tile
    again.tile = [_with_rawmode(tile, lambda raw: raw[:-1] + _OTHER_BYTE.get(raw[-1:], "")) for tile in tiles]
    try:
        load(again)
    except Exception as error:
        raise InputError(
            "Expected 16-bit colours that use their range (got no value above 16383, of which Pillow reads too "
            "little). Convert the image to 8 bits."
        ) from error
    finally:
        if again.fp is not None:
            again.fp.close()
    return again


def is_16_bit_colour(image: Image.Image, stored: str) -> bool:
    """Whether Pillow drops the low bytes of an image."""
    return "16" in stored and image.mode in ("RGB", "RGBA", "RGBX")


def _is_dark(image: Image.Image) -> bool:
    extremes: Any = image.getextrema()
    return bool(max(most for _, most in extremes[:3]) < 64)


def _rawmode(tile: Any) -> str:
    arguments = tile[3]
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _with_rawmode(tile: Any, change: Callable[[str], str]) -> Any:
    rawmode = change(_rawmode(tile))
    arguments = (rawmode, *tile[3][1:]) if isinstance(tile[3], tuple) else rawmode
    return tile._replace(args=arguments) if hasattr(tile, "_replace") else (*tile[:3], arguments)
