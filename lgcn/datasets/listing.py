"""Folder listings that follow links and report what cannot be listed."""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from PIL import Image

from lgcn.checks import InputFileError

_NOT_PIXELS = ("BUFR", "GRIB", "HDF5", "MPEG")
"""Formats that Pillow recognises and cannot decode without a plugin."""


@cache
def image_suffixes() -> frozenset[str]:
    """Suffixes, in lower case and with the dot, of the formats that Pillow decodes here."""
    extensions = Image.registered_extensions()  # imports all plugins
    return frozenset(
        suffix
        for suffix, name in extensions.items()
        if (name in Image.OPEN or name == "MPO") and name not in _NOT_PIXELS
    )


def is_image(path: Path) -> bool:
    """Whether the suffix of a file is that of an image format, whatever its case; hidden files are no images."""
    return path.suffix.lower() in image_suffixes() and not path.name.startswith(".")


def opens_as_image(path: Path) -> bool:
    """Whether Pillow recognises the content of a file, whatever its name. Reads the header only."""
    try:
        with Image.open(path):
            return True
    except Exception:  # Pillow's plugins raise nearly anything
        return False


def list_files(folder: Path) -> list[Path]:
    """The files of a folder, sorted, links included; hidden files and folders are left out.

    Raises:
        InputFileError: if the folder may not be listed.
    """
    return sorted(Path(folder, entry.name) for entry in _entries(folder) if not _is_folder(entry))


def list_folders(top: Path) -> list[Path]:
    """``top`` and all folders below it, sorted; hidden folders are left out.

    Links to folders are followed. A folder that can be reached on several ways, or by a link that leads back up, is
    listed once, under its own name if that is below ``top``.

    Raises:
        InputFileError: if a folder may not be listed.
    """
    folders: dict[str, Path] = {}
    # Links wait until all real folders are listed, so that a folder keeps its own name.
    real, links = [top], list[Path]()
    while real or links:
        folder = real.pop() if real else links.pop()
        place = os.path.realpath(folder)
        if place in folders:
            continue
        folders[place] = folder
        for entry in sorted(_entries(folder), key=lambda each: each.name, reverse=True):
            if _is_folder(entry):
                (links if entry.is_symlink() else real).append(Path(folder, entry.name))
    return sorted(folders.values())


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise InputFileError(
            f"Expected to be able to list the folder '{folder}' ({error.strerror or error}). Change its permissions, "
            "or move it out of the dataset."
        ) from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that cannot be followed
        return False
