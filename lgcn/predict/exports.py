"""Files made from the records of a whole run."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lgcn.files import replace_when_done
from lgcn.predict.output import Results, csv_header, csv_rows, json_lines, to_record

Records = Iterable[dict[str, Any]]
"""``{"image": name, "faces": [...]}`` of each image, as :func:`lgcn.predict.output.to_record` makes them."""


def save_npz(path: str | os.PathLike[str], results: Results, num_landmarks: int) -> None:
    """Write arrays of N images and F faces, for :func:`numpy.load`.

    ``images`` [N] holds the names; ``image_index`` [F] says which of them a face is in; ``box`` [F, 4], ``score`` [F],
    ``landmarks`` [F, K, 2], ``initial`` [F, K, 2], ``confidence`` [F, K], ``expected_error`` [F, K],
    ``expected_error_percent`` [F, K], ``covariance`` [F, K, 2, 2] and ``covered`` [F, K] (0 or 1) are the fields of
    :class:`lgcn.predict.Face`, NaN where the model does not know them. Pixels are zero-based.
    """
    _write_npz(Path(path), (to_record(*each) for each in results), num_landmarks)


def save_coco(path: str | os.PathLike[str], results: Results) -> None:
    """Write detections as COCO's evaluation reads them: one object a face in a JSON list.

    ``keypoints`` holds x, y and confidence of each landmark, ``bbox`` is (x, y, width, height), ``score`` that of
    the face, ``category_id`` 1. ``image_id`` is the number that the name of the file consists of, as in COCO
    (``000000000139.jpg`` is 139), else that name without its suffix; ``file_name`` is the whole name.
    """
    _write_coco(Path(path), (to_record(*each) for each in results), 0)


def _write_json(path: Path, records: Records, num_landmarks: int) -> None:
    _write_lines(path, json_lines(records))


def _write_csv(path: Path, records: Records, num_landmarks: int) -> None:
    _write_lines(path, _csv_lines(records, num_landmarks))


def _csv_lines(records: Records, num_landmarks: int) -> Iterator[str]:
    yield csv_header(num_landmarks)
    yield from map(csv_rows, records)


def _write_coco(path: Path, records: Records, num_landmarks: int) -> None:
    _write_lines(path, json_lines(_coco_result(each["image"], face) for each in records for face in each["faces"]))


def _coco_result(name: str, face: dict[str, Any]) -> dict[str, Any]:
    stem = Path(name).stem
    x0, y0, x1, y1 = face["box"]
    points = zip(face["landmarks"], face["confidence"], strict=True)
    return {
        "image_id": int(stem) if stem.isascii() and stem.isdigit() else stem,
        "file_name": name,
        "category_id": 1,
        "keypoints": [value for (x, y), confidence in points for value in (x, y, confidence)],
        "bbox": [x0, y0, round(x1 - x0, 3), round(y1 - y0, 3)],
        "score": face["score"],
    }


def _write_npz(path: Path, records: Records, num_landmarks: int) -> None:
    K = num_landmarks
    fields = {"box": (4,), "score": (), "landmarks": (K, 2), "initial": (K, 2), "confidence": (K,)}
    fields |= {"expected_error": (K,), "expected_error_percent": (K,), "covariance": (K, 3), "covered": (K,)}
    names: list[str] = []
    index: list[int] = []
    values: dict[str, list[np.ndarray]] = {key: [] for key in fields}
    for record in records:
        names.append(record["image"])
        index += [len(names) - 1] * len(record["faces"])
        for face in record["faces"]:
            for key, shape in fields.items():
                known = np.nan if face[key] is None else face[key]
                values[key].append(np.broadcast_to(np.asarray(known, dtype=np.float32), shape))
    arrays = {key: np.stack(each) if each else np.zeros((0, *fields[key]), np.float32) for key, each in values.items()}
    arrays |= {"images": np.array(names, dtype=str), "image_index": np.array(index, dtype=np.int64)}
    arrays["covariance"] = arrays["covariance"][..., [0, 1, 1, 2]].reshape(-1, K, 2, 2)
    with replace_when_done(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with replace_when_done(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.writelines(lines)


EXPORTS: dict[str, tuple[str, Callable[[Path, Records, int], None]]] = {
    "json": ("landmarks.json", _write_json),
    "csv": ("landmarks.csv", _write_csv),
    "npz": ("landmarks.npz", _write_npz),
    "coco": ("landmarks.coco.json", _write_coco),
}
"""Format -> name of its file, and the function that writes it, whole or not at all, for models of K landmarks."""
