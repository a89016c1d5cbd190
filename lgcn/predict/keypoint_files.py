"""Landmarks in files of other programs: read them, and write refined ones in their place.

Three layouts are known: JSON or JSON Lines of ``lgcn predict``, COCO's JSON of results (or annotations), and CSV with
the columns of ``lgcn predict``. What else a file holds is kept.
"""

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lgcn.checks import InputFileError, shown
from lgcn.files import unescape_name
from lgcn.models import Refinement
from lgcn.predict.output import json_line
from lgcn.typing import KeyPoints

FORMS = (
    'what lgcn predict writes (JSON, JSON Lines or CSV), COCO results [{"image_id": ..., "keypoints": [x, y, score, '
    "...]}, ...], or CSV with the columns image, landmark_0_x, landmark_0_y, ..."
)

Item = tuple[dict[str, Any], str]
"""What a file holds for one object, and where, for messages."""


@dataclass(frozen=True)
class KeyPointFile:
    """The landmarks of a file.

    Args:
        images: name or id of the image of each of the N objects.
        keypoints: their landmarks; missing ones are NaN.
        render: text of the file with other landmarks, and with the outliers for the share of
            :meth:`Refinement.outliers`.
    """

    images: list[str]
    keypoints: KeyPoints
    render: Callable[[Refinement, float], str]

    def __len__(self) -> int:
        return len(self.images)


def read_keypoints(path: str | Path) -> KeyPointFile:
    """Read the landmarks of a file in one of the layouts above.

    Missing landmarks are null or NaN, an empty cell of CSV, or x, y and score 0 in COCO's JSON.

    Raises:
        InputFileError: naming the file and the first entry that cannot be read.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    except OSError as error:
        raise InputFileError(f"Expected a file of landmarks at '{path}' ({error.strerror}).") from None
    if path.suffix.lower() == ".csv":
        return _read_csv(path, text)
    try:
        lines = path.suffix.lower() == ".jsonl"
        # Not splitlines, which also ends lines at characters that names may hold.
        content = [_parse(line) for line in text.split("\n") if line.strip()] if lines else _parse(text)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:80]
        raise InputFileError(f"Expected JSON in '{path}' ({reason}). It may be {FORMS}.") from None
    if isinstance(content, dict) and "annotations" in content:
        return _read_coco(path, content["annotations"], None)
    if isinstance(content, list) and all(isinstance(entry, dict) for entry in content):
        if all(isinstance(entry.get("faces"), list) and "image" in entry for entry in content):
            return _read_records(path, content, lines)
        if all("keypoints" in entry for entry in content):
            return _read_coco(path, content, content)
    raise InputFileError(f"Expected a known layout in '{path}' (got {shown(content)}). It may be {FORMS}.")


def _parse(text: str) -> Any:
    """JSON, in which NaN, which Python writes and which is no JSON, counts as null."""
    return json.loads(text, parse_constant=_constant)


def _constant(name: str) -> None:
    if name != "NaN":
        raise ValueError(f"{name} is no number of JSON")


def _read_records(path: Path, records: list[dict[str, Any]], lines: bool) -> KeyPointFile:
    """Records of ``lgcn predict``."""
    items: list[Item] = []
    images = []
    for record in records:
        for number, face in enumerate(record["faces"]):
            images.append(str(record["image"]))
            items.append((face, f"face {number} of '{record['image']}' in '{path}'"))
    points = [_pairs(face.get("landmarks") if isinstance(face, dict) else None, where) for face, where in items]
    scores = [face.get("confidence") for face, _ in items]
    keypoints = _keypoints(points, None if None in scores else scores, [where for _, where in items])

    def render(refined: Refinement, share: float) -> str:
        rows = iter(_refined_faces([face for face, _ in items], refined, share))
        changed = [{**record, "faces": [next(rows) for _ in record["faces"]]} for record in records]
        text = [json_line(record) for record in changed]
        return "".join(f"{line}\n" for line in text) if lines else _array(text)

    return KeyPointFile(images, keypoints, render)


def _refined_faces(faces: Sequence[dict[str, Any]], refined: Refinement, share: float) -> list[dict[str, Any]]:
    """Entries of ``lgcn predict`` with refined landmarks; the given ones become ``initial``."""
    columns = _columns(refined, share)
    changed = []
    for face, pos, error, covariance, outliers, filled, covered in zip(faces, *columns, strict=True):
        if pos is None:  # fewer than two landmarks: nothing is known
            changed.append({**face, "expected_error": None, "covariance": None, "covered": None})
            continue
        stale = {"expected_error_percent": None} if "expected_error_percent" in face else {}
        changed.append(
            {
                **face,
                "landmarks": pos,
                "initial": face["landmarks"],
                "expected_error": error,
                **stale,
                "covariance": covariance,
                "covered": covered,
                "outliers": outliers,
                "filled_in": filled,
            }
        )
    return changed


def _read_coco(path: Path, entries: Any, results: list[dict[str, Any]] | None) -> KeyPointFile:
    """COCO's results, or its annotations, which cannot be written."""
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputFileError(f"Expected a list of objects 'annotations' in '{path}' (got {shown(entries)}).")
    items = [(entry, f"entry {number} of '{path}'") for number, entry in enumerate(entries) if entry.get("keypoints")]
    points, scores = [], []
    for entry, where in items:
        flat = entry["keypoints"]
        if not isinstance(flat, list) or len(flat) % 3 or "image_id" not in entry:
            raise InputFileError(
                f"Expected 'image_id' and 'keypoints' x, y, score for each landmark in {where} (got {shown(entry)})."
            )
        triples = [flat[start : start + 3] for start in range(0, len(flat), 3)]
        missing = [not any(triple) or (results is None and not triple[2]) for triple in triples]
        points.append(
            _pairs([None if gone else triple[:2] for gone, triple in zip(missing, triples, strict=True)], where)
        )
        scores.append([triple[2] for triple in triples])
    keypoints = _keypoints(points, scores, [where for _, where in items])

    def render(refined: Refinement, share: float) -> str:
        if results is None:
            raise InputFileError(f"Expected results to refine (got annotations in '{path}').")
        columns = zip(*_columns(refined, share), scores, strict=True)
        changed = iter([_refined_entry(entry, *row) for (entry, _), row in zip(items, columns, strict=True)])
        return _array([json_line(next(changed) if entry.get("keypoints") else entry) for entry in results])

    return KeyPointFile([str(entry["image_id"]) for entry, _ in items], keypoints, render)


def _refined_entry(
    entry: dict[str, Any], pos: Any, error: Any, _: Any, outliers: Any, filled: Any, covered: Any, scores: Any
) -> Any:
    """One of COCO's results with refined landmarks and the given scores."""
    if pos is None:
        return {**entry, "expected_error": None}
    flat = [number for point, score in zip(pos, scores, strict=True) for number in (*point, score)]
    found = {"expected_error": error, "covered": covered, "outliers": outliers, "filled_in": filled}
    return {**entry, "keypoints": flat, **found}


def _read_csv(path: Path, text: str) -> KeyPointFile:
    """CSV with the columns of ``lgcn predict``."""
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline="")) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise InputFileError(f"Expected CSV in '{path}' (got: {error}).") from None
    header = [cell.strip() for cell in rows[0]] if rows else []
    count = sum(name.startswith("landmark_") and name.endswith("_x") for name in header)
    needed = ["image", *(f"landmark_{k}_{axis}" for k in range(count) for axis in "xy")]
    lacking = [name for name in needed if name not in header]
    if not count or lacking:
        raise InputFileError(
            f"Expected the columns image, landmark_0_x, landmark_0_y, ... in '{path}' (no "
            f"{lacking[0] if lacking else 'landmark_0_x'}; got {shown(','.join(header))}). Landmarks have numbers from "
            "0, and commas separate columns."
        )
    place = {name: number for number, name in enumerate(header)}
    items = []
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise InputFileError(
                f"Expected {len(header)} cells as in the header in row {line} of '{path}' (got {len(row)})."
            )
        items.append(({name: row[column].strip() for name, column in place.items()}, f"row {line} of '{path}'"))
    points = []
    for values, where in items:
        cells = [[values[f"landmark_{k}_{axis}"] for axis in "xy"] for k in range(count)]
        points.append(_pairs(cells, where))
    known = all(f"confidence_{k}" in place for k in range(count))
    scores = [[row[f"confidence_{k}"] for k in range(count)] for row, _ in items] if known else None
    keypoints = _keypoints(points, scores, [where for _, where in items])

    def render(refined: Refinement, share: float) -> str:
        extra = [f"{name}_{k}" for name in ("expected_error", "covered", "outlier") for k in range(count)]
        names = [*header, *(name for name in extra if name not in place)]
        written = io.StringIO()
        writer = csv.DictWriter(written, names, lineterminator="\n")
        writer.writeheader()
        for (row, _), pos, error, _, outliers, _, covered in zip(items, *_columns(refined, share), strict=True):
            changes: dict[str, Any] = dict.fromkeys(extra, "")
            for k in range(count if pos is not None else 0):
                for axis, number in zip("xy", pos[k], strict=True):
                    if f"initial_{k}_{axis}" in place:
                        changes[f"initial_{k}_{axis}"] = row[f"landmark_{k}_{axis}"]
                    changes[f"landmark_{k}_{axis}"] = number
                changes[f"expected_error_{k}"], changes[f"outlier_{k}"] = error[k], int(k in outliers)
                changes[f"covered_{k}"] = "" if covered is None else int(covered[k])
            writer.writerow({**row, **changes})
        return written.getvalue()

    return KeyPointFile([unescape_name(row["image"]) for row, _ in items], keypoints, render)


def _pairs(points: Any, where: str) -> list[tuple[float, float]]:
    """Points of a file as numbers, NaN where missing."""
    if not isinstance(points, list) or not points:
        raise InputFileError(f"Expected landmarks [x, y] in {where} (got {shown(points)}).")
    pairs = []
    for point in points:
        if point is None:
            pairs.append((math.nan, math.nan))
            continue
        try:
            x, y = (math.nan if number in ("", None) else float(number) for number in point)
        except (TypeError, ValueError, OverflowError):
            x = y = math.inf
        if math.isinf(x) or math.isinf(y):
            raise InputFileError(f"Expected landmarks [x, y] in {where} (got {shown(point)}).") from None
        pairs.append((x, y))
    return pairs


def _keypoints(points: list[list[tuple[float, float]]], scores: Any, where: list[str]) -> KeyPoints:
    """Tensors of the landmarks of N objects, which all have the same number."""
    for row, place in zip(points, where, strict=True):
        if len(row) != len(points[0]):
            raise InputFileError(f"Expected {len(points[0])} landmarks as in {where[0]}, in {place} (got {len(row)}).")
    count = len(points[0]) if points else 0  # a file may hold no object: nothing was found
    pos = torch.tensor(points, dtype=torch.float64).reshape(len(points), count, 2)
    if scores is None:
        return KeyPoints(pos)
    confidence = []
    for row, place in zip(scores, where, strict=True):
        try:
            numbers = [math.nan if number in ("", None) else float(number) for number in row]
        except (TypeError, ValueError, OverflowError):
            numbers = []
        if len(numbers) != count:
            raise InputFileError(f"Expected {count} confidences in {place} (got {shown(row)}).")
        confidence.append(numbers)
    return KeyPoints(pos, torch.tensor(confidence, dtype=torch.float64).reshape(len(points), count))


def _columns(refined: Refinement, share: float) -> tuple[list[Any], ...]:
    """For each object: landmarks, expected errors, covariances, outliers, filled in, covered; None where unknown."""
    known = refined.pos.isfinite().flatten(1).all(1)
    covariance = refined.covariance[..., [0, 0, 1], [0, 1, 1]]
    outliers = [_places(row) for row in refined.outliers(share)]
    filled = [_places(row) for row in ~refined.observed]
    numbers = (_rounded(each, known) for each in (refined.pos, refined.expected_error, covariance))
    covered = [None] * len(outliers) if refined.covered is None else refined.covered.tolist()
    return (*numbers, outliers, filled, covered)


def _places(row: Tensor) -> list[int]:
    places: list[int] = row.nonzero().flatten().tolist()
    return places


def _rounded(values: Tensor, known: Tensor) -> list[Any]:
    rows = values.double().round(decimals=3).tolist()
    return [row if there else None for row, there in zip(rows, known.tolist(), strict=True)]


def _array(lines: list[str]) -> str:
    """A JSON array with one element a line."""
    body = ",\n".join(lines)
    return f"[\n{body}\n]\n" if lines else "[]\n"
