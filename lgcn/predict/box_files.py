"""Face boxes from files: which pictures have which."""

import csv
import json
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lgcn.checks import InputFileError

_COLUMNS = ("image", "x0", "y0", "x1", "y1")
_FORMS = (
    'JSON {"image": [[x0, y0, x1, y1], ...], ...}, JSON as lgcn predict writes it, or CSV with the columns '
    + ", ".join(_COLUMNS)
)


def read_boxes(path: str | os.PathLike[str]) -> "BoxTable":
    """Reads the boxes of pictures from a file.

    JSON (suffix ``.json``) is ``{"image": [[x0, y0, x1, y1], ...]}`` or the layout that
    :func:`lgcn.predict.to_json` writes. Anything else is CSV with one box a row: ``image, x0, y0, x1, y1``
    under any order of these names in its first row (other columns are ignored), or in this order without names.

    Raises:
        InputFileError: naming the file, and the line or the picture where something else stands.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputFileError(f"Expected a file of boxes at '{path}' ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise InputFileError(
            f"Expected text in the file of boxes '{path}' (got binary data). It may be {_FORMS}."
        ) from None
    rows = _json_rows(path, text) if path.suffix.lower() == ".json" else _csv_rows(path, text)
    boxes: dict[str, list[list[float]]] = {}
    for name, box in rows:
        found = boxes.setdefault(name, [])
        if box is not None:
            found.append(box)
    return BoxTable(
        path, {name: torch.tensor(found, dtype=torch.float32).reshape(-1, 4) for name, found in boxes.items()}
    )


class BoxTable:
    """The boxes of pictures, by the names that a file has for them.

    A name stands for the picture at that path, seen from the working folder or from the folder of the file, or
    else for the picture whose path ends with it.

    Args:
        path: the file, for messages and relative names.
        boxes: name -> boxes [F, 4].
    """

    def __init__(self, path: Path, boxes: dict[str, Tensor]) -> None:
        self.path = path
        self.boxes = boxes
        self._exact = {Path(start, name).resolve(): name for start in (path.parent, Path()) for name in boxes}
        self._endings = {Path(name).parts: name for name in boxes if not Path(name).is_absolute()}

    def name_of(self, picture: str | os.PathLike[str]) -> str | None:
        """The name under which the file has boxes of the picture at a path, None if it has none."""
        place = Path(picture).resolve()
        if place in self._exact:
            return self._exact[place]
        endings = (place.parts[start:] for start in range(1, len(place.parts)))
        return next((self._endings[ending] for ending in endings if ending in self._endings), None)

    def find(self, picture: str | os.PathLike[str]) -> Tensor:
        """The boxes [F, 4] of the picture at a path.

        Raises:
            InputFileError: if the file has none for it.
        """
        name = self.name_of(picture)
        if name is None:
            raise InputFileError(
                f"Expected boxes for '{picture}' in '{self.path}' (it names {len(self.boxes)} pictures, but not this "
                "one). Add it, with an empty list if it has no faces."
            )
        return self.boxes[name]

    def __len__(self) -> int:
        return len(self.boxes)

    def __repr__(self) -> str:
        return f"{type(self).__name__}('{self.path}', {len(self)} pictures)"


def _json_rows(path: Path, text: str) -> Iterator[tuple[str, list[float] | None]]:
    """Name and box; None for a picture without boxes, so that its name is known all the same."""
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputFileError(
            f"Expected JSON in '{path}' (line {error.lineno}, column {error.colno}: {error.msg}). It may be {_FORMS}."
        ) from None
    for name, boxes in _json_images(path, content):
        yield name, None
        if not isinstance(boxes, list):
            raise InputFileError(f"Expected a list of boxes for '{name}' in '{path}' (got {_shown(boxes)}).")
        for number, box in enumerate(boxes):
            yield name, _as_box(box, f"box {number} of '{name}' in '{path}'")


def _json_images(path: Path, content: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(content, dict):
        return content.items()
    try:
        return [(str(entry["image"]), [face["box"] for face in entry["faces"]]) for entry in content]
    except (KeyError, TypeError):
        raise InputFileError(
            f"Expected a known layout in '{path}' (got {_shown(content)}). It may be {_FORMS}."
        ) from None


def _csv_rows(path: Path, text: str) -> Iterator[tuple[str, list[float]]]:
    reader = csv.reader(text.splitlines(), skipinitialspace=True)
    order: list[int] | None = None
    for row in reader:
        if not any(cell.strip() for cell in row):
            continue
        cells = [cell.strip() for cell in row]
        if order is None:
            names = [cell.lower() for cell in cells]
            if all(column in names for column in _COLUMNS):
                order = [names.index(column) for column in _COLUMNS]
                continue
            order = list(range(len(_COLUMNS)))
        if len(cells) <= max(order):
            raise InputFileError(
                f"Expected {', '.join(_COLUMNS)} in line {reader.line_num} of '{path}' (got {_shown(','.join(row))})."
            )
        name, *box = (cells[column] for column in order)
        yield name, _as_box(box, f"line {reader.line_num} of '{path}'")


def _as_box(box: Any, where: str) -> list[float]:
    try:
        numbers = [float(number) for number in box]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise InputFileError(f"Expected a box of four numbers x0, y0, x1, y1 in {where} (got {_shown(box)}).")
    return numbers


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return f"'{text[:60]}...'" if len(text) > 60 else f"'{text}'"
