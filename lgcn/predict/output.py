"""Predicted faces as JSON, CSV and ``.pts`` files; every file appears whole or not at all."""

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from lgcn.files import escape_name, escape_surrogates, write_text
from lgcn.predict.face import Face

PathLike = str | os.PathLike[str]

Results = Iterable[tuple[str, Sequence[Face]]]
"""The name of each image and its faces."""


def to_record(name: str, faces: Sequence[Face]) -> dict[str, Any]:
    """``{"image": name, "faces": [...]}``, each face as :meth:`Face.to_dict` returns it."""
    return {"image": name, "faces": [face.to_dict() for face in faces]}


def json_line(record: dict[str, Any], encoding: str = "utf-8") -> str:
    """A record as JSON in one line, which ``encoding`` can encode whatever the name of the image is."""
    if encoding.lower().replace("-", "").startswith("utf"):
        return escape_surrogates(json.dumps(record, ensure_ascii=False, allow_nan=False))
    return json.dumps(record, allow_nan=False)


def to_json(results: Results) -> str:
    """``[{"image": ..., "faces": [...]}, ...]``, one line an image; a face is what :meth:`Face.to_dict` returns.

    Pixels are zero-based: the centre of the first one is at (0, 0).
    """
    return "".join(json_lines(to_record(*each) for each in results))


def to_csv(results: Results, num_landmarks: int) -> str:
    r"""One row for each face; an image without faces has none.

    The columns are ``image, face, x0, y0, x1, y1`` (the box), ``score``, then for every landmark k from 0
    ``landmark_k_x, landmark_k_y``, then ``initial_k_x, initial_k_y``, then ``confidence_k``, ``expected_error_k``,
    ``expected_error_percent_k``, ``covariance_k_xx, covariance_k_xy, covariance_k_yy`` and ``covered_k`` (0 or 1),
    empty where the model does not know them. Pixels are zero-based. Line breaks and bytes that are not UTF-8 in names
    are escaped (``\x0a``, ``\udcff``), see :func:`lgcn.files.escape_name`. The file can be given to ``--boxes``.
    """
    rows = (csv_rows(to_record(name, faces)) for name, faces in results)
    return csv_header(num_landmarks) + "".join(rows)


def json_lines(records: Iterable[dict[str, Any]]) -> Iterator[str]:
    """The parts of :func:`to_json`, with one record in memory at a time."""
    before = "[\n"
    for record in records:
        yield before + json_line(record)
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def csv_header(num_landmarks: int) -> str:
    """The first line of :func:`to_csv`."""
    columns = ["image", "face", "x0", "y0", "x1", "y1", "score"]
    for column, endings in _COLUMNS.values():
        columns += [f"{column}_{k}{ending}" for k in range(num_landmarks) for ending in endings]
    return _csv_text([columns])


def csv_rows(record: dict[str, Any], encoding: str = "utf-8") -> str:
    """The lines of :func:`to_csv` for one record, which ``encoding`` can encode."""
    # Latin letters of another encoding would be read as UTF-8.
    escaped = escape_name(record["image"], "utf-8" if encoding.lower().replace("-", "").startswith("utf") else "ascii")
    return _csv_text([escaped, number, *_values(face)] for number, face in enumerate(record["faces"]))


def save_json(path: PathLike, results: Results) -> None:
    """Write :func:`to_json` to a file."""
    write_text(Path(path), to_json(results))


def save_csv(path: PathLike, results: Results, num_landmarks: int) -> None:
    """Write :func:`to_csv` to a file."""
    write_text(Path(path), to_csv(results, num_landmarks))


def save_pts(path: PathLike, landmarks: Tensor) -> None:
    """Write the landmarks [K, 2] of one face as a ``.pts`` file of 300-W: 1-based, the first pixel is at (1, 1)."""
    # Imported only here: it takes a second, and other formats do without.
    from lgcn.datasets import write_pts

    write_pts(path, landmarks + 1)


_COLUMNS = {
    "landmarks": ("landmark", ("_x", "_y")),
    "initial": ("initial", ("_x", "_y")),
    "confidence": ("confidence", ("",)),
    "expected_error": ("expected_error", ("",)),
    "expected_error_percent": ("expected_error_percent", ("",)),
    "covariance": ("covariance", ("_xx", "_xy", "_yy")),
    "covered": ("covered", ("",)),
}
"""Key of a face's record -> the name of its columns, before and after the number of the landmark."""


def _values(face: dict[str, Any]) -> Iterator[float | str]:
    yield from face["box"]
    yield face["score"]
    for key, (_, endings) in _COLUMNS.items():
        for value in face[key] or [""] * len(face["landmarks"]):
            number = int(value) if isinstance(value, bool) else value
            yield from value if isinstance(value, list) else [number] * len(endings)


def _csv_text(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
