"""Removal of damaged metadata from image files, and their EXIF orientation."""

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

import torch
from PIL import Image
from torch import Tensor

_ORIENTATION = 0x0112
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_START_OF_SCAN, _EXIF, _ADOBE, _COMMENT = 0xDA, 0xE1, 0xEE, 0xFE

pillow_state = RLock()
"""To be held while settings that Pillow or Python has one of for all threads are changed."""


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Hides Pillow's warnings on metadata that it cannot parse; for headers and metadata, not for decoding."""
    with pillow_state, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def load(image: Image.Image) -> int:
    """Decode an image; the EXIF orientation (1 ... 8) still to be applied to its pixels.

    Metadata that cannot be parsed counts as none: the pixels do not depend on it.

    Raises:
        Exception: of any kind, from the decoder.
    """
    turned = False
    if image.format in ("PNG", "TIFF"):
        # Reads metadata once all pixels are decoded, and turns the pixels of a TIFF.
        finish = image.load_end  # type: ignore[attr-defined]

        def finish_guarded() -> None:
            nonlocal turned
            before = image.im
            try:
                with quiet_pillow():
                    finish()
            except Exception:
                turned = image.im is not before

        image.load_end = finish_guarded  # type: ignore[attr-defined]
        try:
            image.load()
        finally:
            del image.load_end  # type: ignore[attr-defined]
    else:
        image.load()
    return 1 if turned else _orientation(image)


def turn_upright(rgb: Tensor, orientation: int) -> Tensor:
    """Apply an EXIF orientation from 1 to 8 to pixels [3, H, W] (EXIF 2.3, table 6)."""
    if orientation in (5, 6, 7, 8):
        rgb = rgb.transpose(1, 2)
    axes = {2: [2], 3: [1, 2], 4: [1], 6: [2], 7: [1, 2], 8: [1]}.get(orientation, [])
    return (torch.flip(rgb, axes) if axes else rgb).contiguous()


def without_metadata(content: bytes) -> bytes | None:
    """A PNG or JPEG file without metadata, except the EXIF orientation; None for other formats."""
    if content.startswith(_PNG):
        return _PNG + b"".join(_png_chunks(content))
    if content.startswith(_JPEG):
        return b"\xff\xd8" + b"".join(_jpeg_segments(content))
    return None


def _orientation(image: Image.Image) -> int:
    try:
        with quiet_pillow():
            orientation = image.getexif().get(_ORIENTATION, 1)
        if isinstance(orientation, bytes):  # written as BYTE, where the standard asks for SHORT
            orientation = int.from_bytes(orientation, "big")
        return int(orientation) if orientation in range(1, 9) else 1
    except Exception:  # Pillow's parser of EXIF raises nearly anything on odd tags
        return 1


def _png_chunks(content: bytes) -> Iterator[bytes]:
    """The critical chunks, and the complete ones that change the appearance."""
    position, colour_type = len(_PNG), content[25] if len(content) > 25 else -1
    while position + 8 <= len(content):
        (length,) = struct.unpack_from(">I", content, position)
        kind = content[position + 4 : position + 8]
        chunk = content[position : position + 12 + length]
        whole = chunk[-4:] == struct.pack(">I", zlib.crc32(chunk[4:-4]))
        needed = kind == b"eXIf" or (kind == b"tRNS" and length >= {0: 2, 2: 6}.get(colour_type, 1))
        if kind[:1].isupper() or (needed and whole):
            yield chunk
        position += 12 + length


def _jpeg_segments(content: bytes) -> Iterator[bytes]:
    """The segments before the first scan, without comments and application data, and the unchanged rest."""
    position = 2
    while position + 4 <= len(content) and content[position] == 0xFF:
        marker, length = content[position + 1], struct.unpack_from(">H", content, position + 2)[0]
        if marker == _START_OF_SCAN:
            break
        segment = content[position : position + 2 + length]
        is_exif = marker == _EXIF and segment[4:10] == b"Exif\0\0"
        is_adobe = marker == _ADOBE and len(segment) >= 16
        if not (0xE0 <= marker <= 0xEF or marker == _COMMENT) or is_exif or is_adobe:
            yield segment
        position += 2 + length
    yield content[position:]
