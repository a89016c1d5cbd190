"""HEIC and HEIF photos, of which Pillow reads none without the package pillow-heif."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

SUFFIXES = frozenset({".heic", ".heif", ".hif"})

_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")


def has_heic() -> bool:
    """Whether pillow-heif is installed; it is imported when a photo is met."""
    return find_spec("pillow_heif") is not None


@cache
def register_heic() -> bool:
    """Teaches Pillow the format; whether it could."""
    if not has_heic():
        return False
    import pillow_heif

    pillow_heif.register_heif_opener()
    return True


def is_heic(source: Path | bytes) -> bool:
    """Whether the first bytes of a file are those of the format."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            source = file.read(12)
    return source[4:8] == b"ftyp" and source[8:12] in _BRANDS
