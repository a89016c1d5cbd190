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
    """``{"image": name, "faces": [{"box", "landmarks", "initial", "confidence"}, ...]}``."""
    return {"image": name, "faces": [face.to_dict() for face in faces]}


def json_line(record: dict[str, Any], encoding: str = "utf-8") -> str:
    """A record as JSON in one line, which ``encoding`` can encode whatever the name of the image is."""
    if encoding.lower().replace("-", "").startswith("utf"):
        return escape_surrogates(json.dumps(record, ensure_ascii=False, allow_nan=False))
    return json.dumps(record, allow_nan=False)


def to_json(results: Results) -> str:
    """``[{"image": ..., "faces": [{"box", "landmarks", "initial", "confidence"}, ...]}, ...]``, one line an image.

    Pixels are zero-based: the centre of the first one is at (0, 0).
    """
    lines = ",\n".join(json_line(to_record(name, faces)) for name, faces in results)
    return f"[\n{lines}\n]\n" if lines else "[]\n"


def to_csv(results: Results, num_landmarks: int) -> str:
    r"""One row for each face; an image without faces has none.

    The columns are ``image, face, x0, y0, x1, y1`` (the box), then for every landmark k from 0 ``landmark_k_x,
    landmark_k_y``, then ``initial_k_x, initial_k_y``, then ``confidence_k``. Pixels are zero-based. Line breaks and
    bytes that are not UTF-8 in names are escaped (``\x0a``, ``\udcff``), see :func:`lgcn.files.escape_name`. The file
    can be given to ``--boxes``.
    """
    rows = (csv_rows(to_record(name, faces)) for name, faces in results)
    return csv_header(num_landmarks) + "".join(rows)


def csv_header(num_landmarks: int) -> str:
    """The first line of :func:`to_csv`."""
    points = [f"{kind}_{k}_{axis}" for kind in ("landmark", "initial") for k in range(num_landmarks) for axis in "xy"]
    confidences = [f"confidence_{k}" for k in range(num_landmarks)]
    return _csv_text([["image", "face", "x0", "y0", "x1", "y1", *points, *confidences]])


def csv_rows(record: dict[str, Any], encoding: str = "utf-8") -> str:
    """The lines of :func:`to_csv` for one record, which ``encoding`` can encode."""
    # Latin letters of another encoding would be read as UTF-8.
    escaped = escape_name(record["image"], "utf-8" if encoding.lower().replace("-", "").startswith("utf") else "ascii")
    return _csv_text([escaped, number, *_values(face)] for number, face in enumerate(record["faces"]))


def save_json(path: PathLike, results: Results) -> None:
    """Writes :func:`to_json` to a file."""
    write_text(Path(path), to_json(results))


def save_csv(path: PathLike, results: Results, num_landmarks: int) -> None:
    """Writes :func:`to_csv` to a file."""
    write_text(Path(path), to_csv(results, num_landmarks))


def save_pts(path: PathLike, landmarks: Tensor) -> None:
    """Writes the landmarks [K, 2] of one face as a ``.pts`` file of 300-W: 1-based, the first pixel is at (1, 1)."""
    # Imported only here: it takes a second, and other formats do without.
    from lgcn.datasets import write_pts

    write_pts(path, landmarks + 1)


def _values(face: dict[str, Any]) -> Iterator[float]:
    yield from face["box"]
    for kind in ("landmarks", "initial"):
        for point in face[kind]:
            yield from point
    yield from face["confidence"]


def _csv_text(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
