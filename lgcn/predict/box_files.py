"""Read face boxes from files and look up those of an image."""

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lgcn.checks import InputFileError
from lgcn.files import real_path, unescape_name

_COLUMNS = ("image", "x0", "y0", "x1", "y1")
_FORMS = (
    'JSON {"image": [[x0, y0, x1, y1], ...], ...}, JSON or JSON Lines as lgcn predict writes it, or CSV with the '
    "columns " + ", ".join(_COLUMNS)
)

_Rows = Iterable[tuple[str, list[float] | None]]
"""Names and boxes; None for an image without boxes, whose name is still known."""


def read_boxes(path: str | os.PathLike[str]) -> "BoxTable":
    """Read the boxes of images from a file.

    JSON (suffix ``.json``) is ``{"image": [[x0, y0, x1, y1], ...]}`` or the layout that
    :func:`lgcn.predict.to_json` writes; JSON Lines (``.jsonl``) is what ``lgcn predict`` leaves when it is killed, with
    or without an unfinished last line. Anything else is CSV with one box a row: ``image, x0, y0, x1, y1`` in any order
    and among other columns if its first row names them, else in this order.

    Raises:
        InputFileError: naming the file and the faulty line or image.
    """
    path = Path(path)
    try:
        # Names of files may hold bytes that are not UTF-8.
        text = path.read_bytes().decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    except OSError as error:
        raise InputFileError(f"Expected a file of boxes at '{path}' ({error.strerror}).") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputFileError(
            f"Expected UTF-8 text in the file of boxes '{path}' (got binary data: NUL in line {line}). "
            f"It may be {_FORMS}."
        )
    suffix = path.suffix.lower()
    try:
        rows = list({".json": _json_rows, ".jsonl": _json_lines_rows}.get(suffix, _csv_rows)(path, text))
    except RecursionError:
        raise InputFileError(f"Expected a known layout in '{path}' (got nested too deeply). {_FORMS}.") from None
    boxes: dict[str, list[list[float]]] = {}
    for name, box in rows:
        found = boxes.setdefault(name, [])
        if box is not None:
            found.append(box)
    tensors = {name: torch.tensor(found, dtype=torch.float32).reshape(-1, 4) for name, found in boxes.items()}
    return BoxTable(path, tensors, escaped=suffix not in (".json", ".jsonl"))


class BoxTable:
    r"""Boxes of images, by their names in a file.

    A name denotes the image at that path, relative to the working folder or to the folder of the file, or else the
    image whose path ends with it.

    Args:
        path: the file, for messages and relative names.
        boxes: name -> boxes [F, 4].
        escaped: whether names may hold escape sequences such as ``\x0a``, as in CSV written by
            :func:`lgcn.predict.to_csv`. Unescaped names are found, too.

    Raises:
        InputFileError: if two names of one file, such as ``a.jpg`` and ``./a.jpg``, have different boxes.
    """

    def __init__(self, path: Path, boxes: dict[str, Tensor], *, escaped: bool = False) -> None:
        self.path = path
        self.boxes = boxes
        self._exact: dict[str, str] = {}
        self._endings: dict[tuple[str, ...], str] = {}
        # What a name stands for without escape sequences goes first, and so is replaced by what it stands for with.
        for read in (str, unescape_name) if escaped else (str,):
            files = {name: _file_name(read(name)) for name in boxes}
            paths = {name: Path(file) for name, file in files.items() if file is not None}
            for start in (path.parent, Path()):
                self._exact |= self._places(start, paths)
            self._endings |= {file.parts: name for name, file in paths.items() if not file.is_absolute()}

    def _places(self, start: Path, paths: dict[str, Path]) -> dict[str, str]:
        """The name of the file at each place, if relative paths start from a folder."""
        places: dict[str, str] = {}
        for name, file in paths.items():
            other = places.setdefault(real_path(start / file), name)
            if other != name and not torch.equal(self.boxes[other], self.boxes[name]):
                raise InputFileError(
                    f"Expected one name for each image in '{self.path}' ('{other}' and '{name}', with different boxes, "
                    "are the same file). Put all boxes of an image under one name."
                )
        return places

    def name_of(self, image: str | os.PathLike[str]) -> str | None:
        """The name of the image at a path in the file; None if it has no boxes for it."""
        place = real_path(image)
        if place in self._exact:
            return self._exact[place]
        parts = Path(place).parts
        endings = (parts[start:] for start in range(1, len(parts)))
        return next((self._endings[ending] for ending in endings if ending in self._endings), None)

    def find(self, image: str | os.PathLike[str]) -> Tensor:
        """The boxes [F, 4] of the image at a path.

        Raises:
            InputFileError: if the file has none for it.
        """
        name = self.name_of(image)
        if name is None:
            raise InputFileError(
                f"Expected boxes for '{os.fspath(image)}' in '{self.path}' (not among the {len(self.boxes)} that it "
                "names). Add it, with an empty list if it has no faces."
            )
        return self.boxes[name]

    def __len__(self) -> int:
        return len(self.boxes)

    def __repr__(self) -> str:
        return f"{type(self).__name__}('{self.path}', {len(self)} images)"


def _file_name(name: str) -> str | None:
    """The file's name in the encoding of this file system, whichever the text was written with; None for no file's."""
    try:
        return None if "\0" in name else os.fsdecode(name.encode("utf-8", "surrogateescape"))
    except UnicodeError:  # half of a surrogate pair
        return None


def _json_rows(path: Path, text: str) -> _Rows:
    content = _parse(path, text)
    return _entries(path, content.items() if isinstance(content, dict) else _records(path, content))


def _json_lines_rows(path: Path, text: str) -> _Rows:
    lines = text.split("\n")
    # The last line is empty, or unfinished if the program was killed.
    records = [_parse(path, line, number) for number, line in enumerate(lines[:-1], start=1) if line.strip()]
    return _entries(path, _records(path, records))


def _parse(path: Path, text: str, line: int | None = None) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:  # not JSON, or a number of thousands of digits
        where = f"line {line or getattr(error, 'lineno', 1)}, column {getattr(error, 'colno', 1)}"
        reason = getattr(error, "msg", "a number is too long")
        raise InputFileError(f"Expected JSON in '{path}' ({where}: {reason}). It may be {_FORMS}.") from None


def _records(path: Path, content: Any) -> Iterable[tuple[str, Any]]:
    try:
        return [(str(entry["image"]), [face["box"] for face in entry["faces"]]) for entry in content]
    except (KeyError, TypeError):
        raise InputFileError(
            f"Expected a known layout in '{path}' (got {_shown(content)}). It may be {_FORMS}."
        ) from None


def _entries(path: Path, entries: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, list[float] | None]]:
    for name, boxes in entries:
        if "\0" in name:
            raise InputFileError(f"Expected names of images in '{path}' (got {_shown(name)}, which holds NUL).")
        yield name, None
        if not isinstance(boxes, list):
            raise InputFileError(f"Expected a list of boxes for '{name}' in '{path}' (got {_shown(boxes)}).")
        for number, box in enumerate(boxes):
            yield name, _as_box(box, f"box {number} of '{name}' in '{path}'")


def _csv_rows(path: Path, text: str) -> _Rows:
    # Given as a stream, so that quoted names keep their line breaks.
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
    order: list[int] | None = None
    try:
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
                    f"Expected {', '.join(_COLUMNS)} in line {reader.line_num} of '{path}' "
                    f"(got {_shown(','.join(row))})."
                )
            name, *box = (cells[column] for column in order)
            yield name, _as_box(box, f"line {reader.line_num} of '{path}'")
    except csv.Error as error:
        raise InputFileError(f"Expected CSV in line {reader.line_num} of '{path}' (got: {error}).") from None


def _as_box(box: Any, where: str) -> list[float]:
    try:
        numbers = [] if any(isinstance(number, bool) for number in box) else [float(number) for number in box]
    except (TypeError, ValueError, OverflowError):
        numbers = []
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise InputFileError(f"Expected a box of four numbers x0, y0, x1, y1 in {where} (got {_shown(box)}).")
    return numbers


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return f"'{text[:60]}...'" if len(text) > 60 else f"'{text}'"
