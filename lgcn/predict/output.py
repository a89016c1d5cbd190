"""Predicted faces as JSON, CSV and ``.pts`` files; every file appears whole or not at all."""

import csv
import io
import json
import os
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path

from torch import Tensor

from lgcn.checks import InputFileError
from lgcn.datasets import write_pts
from lgcn.files import write_text
from lgcn.predict.face import Face

PathLike = str | os.PathLike[str]

Results = Iterable[tuple[str, Sequence[Face]]]
"""The name of each picture and its faces."""


def to_json(results: Results) -> str:
    """``[{"image": ..., "faces": [{"box", "landmarks", "initial", "confidence"}, ...]}, ...]``, one line a picture.

    Pixels are zero-based: the centre of the first one is at (0, 0).
    """
    records = ({"image": name, "faces": [face.to_dict() for face in faces]} for name, faces in results)
    lines = ",\n".join(json.dumps(record, ensure_ascii=False, allow_nan=False) for record in records)
    return f"[\n{lines}\n]\n" if lines else "[]\n"


def to_csv(results: Results, num_landmarks: int) -> str:
    """One row for each face; a picture without faces has none.

    The columns are ``image, face, x0, y0, x1, y1`` (the box), then for every landmark k from 0 ``landmark_k_x,
    landmark_k_y``, then ``initial_k_x, initial_k_y``, then ``confidence_k``. Pixels are zero-based. The
    file can be given to ``--boxes``.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    points = [[f"{kind}_{k}_{axis}" for k in range(num_landmarks) for axis in "xy"] for kind in ("landmark", "initial")]
    confidences = [f"confidence_{k}" for k in range(num_landmarks)]
    writer.writerow(["image", "face", "x0", "y0", "x1", "y1", *points[0], *points[1], *confidences])
    for name, faces in results:
        for number, face in enumerate(faces):
            values = face.to_dict()
            flat = [value for kind in ("landmarks", "initial") for point in values[kind] for value in point]
            writer.writerow([name, number, *values["box"], *flat, *values["confidence"]])
    return text.getvalue()


def save_json(path: PathLike, results: Results) -> None:
    """Writes :func:`to_json` to a file."""
    write_text(Path(path), to_json(results))


def save_csv(path: PathLike, results: Results, num_landmarks: int) -> None:
    """Writes :func:`to_csv` to a file."""
    write_text(Path(path), to_csv(results, num_landmarks))


def save_pts(path: PathLike, landmarks: Tensor) -> None:
    """Writes the landmarks [K, 2] of one face as a ``.pts`` file of 300-W: 1-based, the first pixel is at (1, 1)."""
    write_pts(path, landmarks + 1)


def check_folder(folder: Path) -> Path:
    """``folder`` if it is one, or if it can be created.

    Raises:
        InputFileError: if it or something above it is a file.
    """
    for each in (folder, *folder.parents):
        if each.is_dir():
            return folder
        if each.exists():
            raise InputFileError(f"Expected a folder to write to (got '{folder}', but '{each}' is a file).")
    return folder


def unique_stems(pictures: Sequence[Path]) -> list[str]:
    """The name of each picture without its suffix, with ``-2``, ``-3``, ... where it would be an earlier one's.

    Letters that differ in case only count as equal, as they do for some file systems.
    """
    taken: set[str] = set()
    stems: list[str] = []
    for path in pictures:
        candidates = (path.stem if number == 1 else f"{path.stem}-{number}" for number in count(1))
        stem = next(each for each in candidates if each.casefold() not in taken)
        taken.add(stem.casefold())
        stems.append(stem)
    return stems
