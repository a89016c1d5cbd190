"""The reason why Pillow does not open a file."""

import io
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from lgcn.images.metadata import quiet_pillow


def reason_not_opened(source: Path | bytes) -> str | None:
    """What the plugin for the format of a file objects to, as in ``TIFF: unknown pixel mode``.

    :func:`PIL.Image.open` keeps that to itself.

    Returns:
        None if the first bytes are those of no format that Pillow knows.
    """
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        prefix = file.read(16)
        for name in Image.ID:
            factory, accepts = Image.OPEN[name]
            if not prefix or not _is_accepted(accepts, prefix):
                continue
            try:
                file.seek(0)
                with quiet_pillow():
                    factory(file, "")
            except Exception as error:  # Pillow's plugins raise nearly anything
                return f"{name}: {error}" if str(error) else name
    return None


def _is_accepted(accepts: Callable[[bytes], bool | str] | None, prefix: bytes) -> bool:
    try:
        return accepts is not None and accepts(prefix) is True
    except Exception:  # fewer bytes than it looks at
        return False
