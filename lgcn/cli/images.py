"""Helpers of the commands that read images: list images, read boxes, predict faces."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lgcn.cli.messages import counted, tell

if TYPE_CHECKING:
    from lgcn.predict import BoxTable, Face, LandmarkPredictor, PreparedImage

OVERLAY_ENDING = "_overlay"
"""Follows the name of the image in the name of its overlay."""


def find_images(inputs: Sequence[Path], *, recursive: bool = False) -> tuple[list[Path], list[Exception]]:
    """The images at the given paths, each once, and the errors of paths without images.

    Prints a note on the other files in folders.
    """
    from lgcn.checks import InputFileError

    found: dict[Path, Path] = {}
    problems: list[Exception] = []
    for path in inputs:
        try:
            images = _images_of(path, recursive)
            for image in images:
                found.setdefault(image.resolve(), image)
        except InputFileError as error:
            problems.append(error)
        except (OSError, RuntimeError) as error:  # a name that is too long, a folder above that may not be entered
            reason = getattr(error, "strerror", None) or error
            problems.append(InputFileError(f"Expected an image or a folder at '{path}' ({reason})."))
    return list(found.values()), problems


def _images_of(path: Path, recursive: bool) -> list[Path]:
    """The image at a path, or those in the folder there."""
    from lgcn.checks import InputFileError
    from lgcn.images import list_images

    if not path.exists():
        raise InputFileError(f"Expected an image or a folder at '{path}' (there is none).")
    if not path.is_dir():
        return [path]
    listing = list_images(path, recursive=recursive)
    images = [image for image in listing.images if not image.stem.endswith(OVERLAY_ENDING)]
    overlays = len(listing.images) - len(images)
    rest = [f"{counted(overlays, 'file')} named *{OVERLAY_ENDING}"] if overlays else []
    rest += [each for each in [listing.describe_rest()] if each]
    search = " Search folders with '--recursive'." if listing.folders else ""
    if not images:
        got = f"none, but {', '.join(rest)}" if rest else "none"
        raise InputFileError(f"Expected images that Pillow can read in the folder '{path}' (got {got}).{search}")
    if rest:
        tell("note", f"In '{path}' skipped {', '.join(rest)}.{search}")
    return images


def read_boxes_of(path: Path, images: Sequence[Path]) -> "BoxTable":
    """The boxes in a file, which must name each of the images at most once."""
    from lgcn.checks import InputFileError
    from lgcn.predict import read_boxes

    table = read_boxes(path)
    names = {image: table.name_of(image) for image in images}
    for name, count in Counter(names.values()).items():
        if name is not None and count > 1:
            several = ", ".join(f"'{image}'" for image in images if names[image] == name)
            raise InputFileError(
                f"Expected one image for the name '{name}' in '{path}' (got {several}). Write its folder too."
            )
    return table


def prepare_images(
    predictor: "LandmarkPredictor",
    images: Sequence[Path],
    table: "BoxTable | None",
    problems: list[Exception] | None,
) -> Iterator["PreparedImage"]:
    """Reads images with their boxes; errors are printed and added to ``problems``, or raised if that is None."""
    from tqdm import tqdm

    from lgcn.checks import InputError

    # disable=None: no bar if stderr is not a terminal.
    for path in tqdm(images, desc="predict", unit="image", disable=True if len(images) == 1 else None):
        try:
            yield predictor.prepare(path, None if table is None else table.find(path))
        except InputError as error:
            if problems is None:
                raise
            tell("error", error)
            problems.append(error)


def predict_images(
    predictor: "LandmarkPredictor", images: Iterable["PreparedImage"], return_connectivity: bool
) -> Iterator[tuple["PreparedImage", list["Face"]]]:
    """Each image with its faces; as many images at a time as fill a batch."""
    for group in predictor.grouped(images):
        yield from zip(group, predictor.predict(group, return_connectivity=return_connectivity), strict=True)
