"""Helpers of the commands that read images: list images, read boxes."""

import glob
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lgcn.cli.messages import counted, tell

if TYPE_CHECKING:
    from lgcn.images import ImageLike
    from lgcn.predict import BoxTable

OVERLAY_ENDING, ALIGNED_ENDING = "_overlay", "_aligned"
"""Follow the name of an image in the names of its overlay and of its aligned crops."""

STDIN = Path("-")
"""The name of the image that is read from standard input."""


def find_images(inputs: Sequence[Path], *, recursive: bool = False) -> tuple[list[Path], list[Exception]]:
    """The images at the given paths and patterns, each name once, and the errors of paths without images.

    Prints a note on the other files in folders.
    """
    from lgcn.checks import InputFileError

    found: dict[str, Path] = {}
    problems: list[Exception] = []
    for path in inputs:
        try:
            for each in _expanded(path):
                for image in _images_of(each, recursive):
                    # Not resolved: a link is an image of its own, under its own name.
                    found.setdefault(os.path.abspath(image), image)  # noqa: PTH100
        except InputFileError as error:
            problems.append(error)
        except (OSError, RuntimeError) as error:  # a name that is too long, a folder above that may not be entered
            reason = getattr(error, "strerror", None) or error
            problems.append(InputFileError(f"Expected an image or a folder at '{path}' ({reason})."))
    return list(found.values()), problems


def load_input(path: Path) -> "ImageLike":
    """What the predictor reads: the path, or the content of standard input."""
    return sys.stdin.buffer.read() if path == STDIN else path


def _expanded(path: Path) -> list[Path]:
    """The paths that a pattern matches, which the shell did not expand: ``photos/*.jpg``, ``photos/**/*.jpg``."""
    from lgcn.checks import InputFileError
    from lgcn.images import is_image_name

    if path == STDIN or path.exists() or not glob.has_magic(str(path)):
        return [path]
    matched = sorted(_matching(path))
    # As with the files of a folder: what a pattern matches by accident is not an error.
    images = [each for each in matched if each.is_dir() or (is_image_name(each) and not _is_own(each))]
    if not images:
        got = f"{counted(len(matched), 'file')}, none of them an image" if matched else "nothing"
        raise InputFileError(f"Expected images at '{path}' (the pattern matches {got}).")
    return images


def _matching(pattern: Path) -> Iterator[Path]:
    """What a pattern matches, without hidden files and folders unless it names them with a dot.

    ``**`` does not follow links, as in shells; :func:`glob.glob` follows them, in circles without an end.
    """
    parts = pattern.parts
    first = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    base = Path(*parts[:first])
    # As in shells, ** beside other characters is *; Path.glob refuses it.
    rest = [part if part == "**" else re.sub(r"\*+", "*", part) for part in parts[first:]]
    dotted = any(part.startswith(".") for part in rest)
    for path in base.glob(str(Path(*rest))):
        if dotted or not any(part.startswith(".") for part in path.relative_to(base).parts):
            yield path


def _images_of(path: Path, recursive: bool) -> list[Path]:
    """The image at a path, or those in the folder there."""
    from lgcn.checks import InputFileError
    from lgcn.images import list_images

    if path == STDIN:
        return [path]
    if not path.exists():
        # Path has made one slash of two.
        url = re.match(r"([a-z][a-z0-9+.-]+):/(.*)", str(path), re.IGNORECASE | re.DOTALL)
        if url:
            raise InputFileError(
                f"Expected an image or a folder at '{url[1]}://{url[2]}' (URLs are not read). Download the image, "
                "or pipe it: curl -s URL | lgcn predict -"
            )
        raise InputFileError(f"Expected an image or a folder at '{path}' (there is none).")
    if not path.is_dir():
        return [path]
    listing = list_images(path, recursive=recursive)
    images = [image for image in listing.images if not _is_own(image)]
    own = len(listing.images) - len(images)
    rest = [f"{counted(own, 'file')} named *{OVERLAY_ENDING} or *{ALIGNED_ENDING}"] if own else []
    rest += [each for each in [listing.describe_rest()] if each]
    search = " Search folders with '--recursive'." if listing.folders else ""
    if not images:
        got = f"none, but {', '.join(rest)}" if rest else "none"
        raise InputFileError(f"Expected images that Pillow can read in the folder '{path}' (got {got}).{search}")
    if rest:
        tell("note", f"In '{path}' skipped {', '.join(rest)}.{search}")
    return images


def _is_own(path: Path) -> bool:
    """Whether an image has the name of one that this command wrote."""
    return path.stem.endswith((OVERLAY_ENDING, ALIGNED_ENDING))


def read_boxes_of(path: Path, images: Sequence[Path]) -> "BoxTable":
    """The boxes in a file, which must name each of the images at most once."""
    from lgcn.checks import InputFileError
    from lgcn.files import real_path
    from lgcn.predict import read_boxes

    table = read_boxes(path)
    named: dict[str, dict[str, Path]] = {}
    for image in images:
        name = table.name_of(image)
        if name is not None:
            # A link has the boxes of its target.
            named.setdefault(name, {})[real_path(image)] = image
    for name, files in named.items():
        if len(files) > 1:
            several = ", ".join(f"'{image}'" for image in files.values())
            raise InputFileError(
                f"Expected one image for the name '{name}' in '{path}' (got {several}). Write its folder too."
            )
    return table
