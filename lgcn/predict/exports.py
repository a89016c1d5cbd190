"""Whole files made from the records of a run, one line of memory at a time."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from lgcn.files import replace_when_done
from lgcn.predict.output import csv_header, csv_rows, json_line
from lgcn.schemes import LandmarkScheme

Records = Iterable[dict[str, Any]]
"""``{"image": name, "faces": [...]}`` of each image, as :func:`lgcn.predict.output.to_record` makes them."""


def write_json(path: Path, records: Records, scheme: LandmarkScheme) -> None:
    """Writes what :func:`lgcn.predict.to_json` returns."""
    _write_lines(path, _json_lines(records))


def write_csv(path: Path, records: Records, scheme: LandmarkScheme) -> None:
    """Writes what :func:`lgcn.predict.to_csv` returns."""
    _write_lines(path, _csv_lines(records, scheme))


EXPORTS: dict[str, tuple[str, Callable[[Path, Records, LandmarkScheme], None]]] = {
    "json": ("landmarks.json", write_json),
    "csv": ("landmarks.csv", write_csv),
}
"""Format -> name of its file, and the function that writes it, whole or not at all."""


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with replace_when_done(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.writelines(lines)


def _json_lines(records: Records) -> Iterator[str]:
    before = "[\n"
    for record in records:
        yield before + json_line(record)
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def _csv_lines(records: Records, scheme: LandmarkScheme) -> Iterator[str]:
    yield csv_header(scheme.num_landmarks)
    yield from map(csv_rows, records)
