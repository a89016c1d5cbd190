"""List the images in a folder, and describe its other files."""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeVar

from PIL import Image, ImageFile

from lgcn.checks import InputFileError
from lgcn.images.heic import SUFFIXES, has_heic

# The first would run Ghostscript; Pillow has no decoder for the second.
_NOT_DECODED = {"EPS", "MPEG"}

Result = TypeVar("Result")


@cache
def image_suffixes() -> frozenset[str]:
    """The suffixes, in lower case and with their dot, of the formats that Pillow can read here."""
    Image.init()
    found = frozenset(
        suffix
        for suffix, name in Image.registered_extensions().items()
        if name in Image.OPEN and name not in _NOT_DECODED and not _is_stub(Image.OPEN[name][0])
    )
    return found | SUFFIXES if has_heic() else found - SUFFIXES


def is_image_name(path: str | os.PathLike[str]) -> bool:
    """Whether Pillow can read files of this suffix; names that start with a dot are hidden files, not images."""
    path = Path(path)
    return path.suffix.lower() in image_suffixes() and not path.name.startswith(".")


@dataclass
class ImageListing:
    """What :func:`list_images` found."""

    images: list[Path] = field(default_factory=list)
    """In the order of their names, folder by folder."""
    others: list[Path] = field(default_factory=list)
    """Files that are not images by their suffix, in the same order; hidden ones are left out."""
    folders: list[Path] = field(default_factory=list)
    """Folders that were not searched."""

    def describe_rest(self) -> str:
        """What was passed over, as in ``3 files that are not images (2 .heic, 1 .txt) and 1 folder``, or nothing."""
        suffixes = Counter(path.suffix.lower() or "without suffix" for path in self.others)
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(suffixes.items()))
        parts = []
        if self.others:
            one = len(self.others) == 1
            parts.append(f"{len(self.others)} {'file that is not an image' if one else 'files that are not images'}")
            parts[0] += f" ({kinds})"
        if self.folders:
            parts.append(f"{len(self.folders)} folder{'' if len(self.folders) == 1 else 's'}")
        return " and ".join(parts)


def list_images(folder: str | os.PathLike[str], *, recursive: bool = False) -> ImageListing:
    """List the files in a folder whose suffix says that Pillow can read them.

    Links are followed, each folder is searched once even if links lead back to it, and hidden files and folders are
    skipped. A link that leads nowhere is listed like the file that it names, so that reading it raises an error.

    Args:
        folder: the folder.
        recursive: search the folders in it too.

    Raises:
        InputFileError: if ``folder``, or with ``recursive`` a folder in it, is missing or cannot be listed.
    """
    listing = ImageListing()
    visited: set[tuple[int, int]] = set()
    waiting = [Path(folder)]
    while waiting:
        each = waiting.pop()
        identity = _try_to_list(each, lambda path: (path.stat().st_dev, path.stat().st_ino))
        if identity in visited:
            continue
        visited.add(identity)
        folders = []
        for path in sorted(_try_to_list(each, lambda path: list(path.iterdir()))):
            if path.name.startswith("."):
                continue
            if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for a link to what may not be looked at
                folders.append(path)
            # A pipe or a device, also behind a link, might never end.
            elif is_image_name(path) and (os.path.isfile(path) or not os.path.exists(path)):  # noqa: PTH110, PTH113
                listing.images.append(path)
            else:
                listing.others.append(path)
        if recursive:
            waiting += reversed(folders)
        else:
            listing.folders += folders
    return listing


def _try_to_list(folder: Path, ask: Callable[[Path], Result]) -> Result:
    try:
        return ask(folder)
    except OSError as error:
        raise InputFileError(
            f"Expected to be able to list the folder '{folder}' (got: {error.strerror or error}). "
            "Correct the path, or the permissions of the folder."
        ) from None


def _is_stub(factory: object) -> bool:
    """Whether Pillow can only name the format: another package would have to register a decoder."""
    return isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile)
