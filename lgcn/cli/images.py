"""What the commands that look at pictures share: which they are, their boxes, and their faces."""

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lgcn.cli.output_folder import OVERLAY_ENDING, tell

if TYPE_CHECKING:
    from lgcn.predict import BoxTable, Face, LandmarkPredictor, Picture


def find_images(inputs: Sequence[Path]) -> tuple[list[Path], list[Exception]]:
    """The pictures that the inputs stand for, each once, and what is wrong with the other inputs."""
    from lgcn.checks import InputFileError
    from lgcn.images import IMAGE_SUFFIXES

    found: dict[Path, Path] = {}
    problems: list[Exception] = []
    for path in inputs:
        if not path.exists():
            problems.append(InputFileError(f"Expected a picture or a folder at '{path}' (there is none)."))
            continue
        here = [path]
        if path.is_dir():
            here = sorted(
                each
                for each in path.iterdir()
                if each.suffix.lower() in IMAGE_SUFFIXES
                and each.is_file()
                and not each.name.startswith(".")
                and not each.stem.endswith(OVERLAY_ENDING)
            )
            if not here:
                problems.append(
                    InputFileError(
                        f"Expected pictures ({', '.join(IMAGE_SUFFIXES)}) in the folder '{path}' (got none). "
                        "Folders in it are not searched: name them too."
                    )
                )
        for each in here:
            found.setdefault(each.resolve(), each)
    return list(found.values()), problems


def read_boxes_of(path: Path, pictures: Sequence[Path]) -> "BoxTable":
    """The boxes in a file, which must name each of the pictures at most once."""
    from lgcn.checks import InputFileError
    from lgcn.predict import read_boxes

    table = read_boxes(path)
    names = {picture: table.name_of(picture) for picture in pictures}
    for name, count in Counter(names.values()).items():
        if name is not None and count > 1:
            several = ", ".join(f"'{picture}'" for picture in pictures if names[picture] == name)
            raise InputFileError(
                f"Expected one picture for the name '{name}' in '{path}' (got {several}). Write its folder too."
            )
    return table


def prepare_images(
    predictor: "LandmarkPredictor",
    pictures: Sequence[Path],
    table: "BoxTable | None",
    problems: list[Exception] | None,
) -> Iterator["Picture"]:
    """Pictures with their boxes; those that cannot be used are told and added to ``problems``, unless that is None."""
    from tqdm import tqdm

    from lgcn.checks import InputError

    # None: no bar where stderr is no terminal.
    for path in tqdm(pictures, desc="predict", unit="picture", disable=True if len(pictures) == 1 else None):
        try:
            yield predictor.prepare(path, None if table is None else table.find(path))
        except InputError as error:
            if problems is None:
                raise
            tell("error", error)
            problems.append(error)


def predict_images(
    predictor: "LandmarkPredictor", pictures: Iterable["Picture"], return_connectivity: bool
) -> Iterator[tuple["Picture", list["Face"]]]:
    """Each picture with its faces, as many pictures at a time as fill a batch."""
    for group in predictor.grouped(pictures):
        yield from zip(group, predictor.predict(group, return_connectivity=return_connectivity), strict=True)


@contextmanager
def short_warnings() -> Iterator[None]:
    """Warnings for the user as one line each, without the line of code that they come from."""
    from lgcn.predict import NoFaceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("always", NoFaceWarning)
        show = warnings.showwarning

        def show_short(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, NoFaceWarning):
                tell("warning", message)
            else:
                show(message, category, *place, **more)

        warnings.showwarning = show_short
        yield
