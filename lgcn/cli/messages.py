"""One-line messages on stderr, for any file name and encoding."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lgcn.files import printable


def tell(kind: str, message: object) -> None:
    """Print ``lgcn: kind: message`` in one line on stderr, above a progress bar."""
    from tqdm import tqdm

    tqdm.write(f"lgcn: {kind}: {printable(str(message), sys.stderr.encoding or 'ascii')}", file=sys.stderr)


def counted(number: int, thing: str) -> str:
    """``1 image``, ``2 images``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


@contextmanager
def short_warnings() -> Iterator[None]:
    """Show warnings for the user as one line each, without the line of source code that raised them."""
    from lgcn.images import PixelRangeWarning
    from lgcn.predict import NoFaceWarning
    from lgcn.video import VideoWarning

    shown = (NoFaceWarning, PixelRangeWarning, VideoWarning)
    with warnings.catch_warnings():
        for category in shown:
            warnings.simplefilter("always", category)
        show = warnings.showwarning

        def show_short(
            message: Warning | str, category: type[Warning], filename: str, *place: Any, **more: Any
        ) -> None:
            # Pillow's warnings, too, concern the user's files.
            if issubclass(category, shown) or "PIL" in filename:
                tell("warning", message)
            else:
                show(message, category, filename, *place, **more)

        warnings.showwarning = show_short
        yield
