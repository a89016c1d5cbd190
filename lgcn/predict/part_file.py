"""Incremental results on disk, which an interrupted run does not lose."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from lgcn.files import replace_when_done
from lgcn.predict.face import Face
from lgcn.predict.output import csv_header, csv_rows, json_line, to_record


class PartFile:
    """A JSON Lines file that becomes the final file at the end.

    Each line is the record of one image, ``{"image": ..., "faces": [...]}``, and reaches the operating system before
    the next image is predicted: after ``kill -9`` all lines are whole but perhaps the last.

    Args:
        path: the final file; the suffix (``.json``, ``.csv``) says its format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.part_path = path.with_name(f"{path.stem}.part.jsonl")
        self.num_images = 0
        self._file: BinaryIO | None = None

    def append(self, name: str, faces: Sequence[Face]) -> None:
        """Writes the faces of one image, whole or not at all.

        Raises:
            OSError: if the disk is full or has become read-only.
        """
        line = json_line(to_record(name, faces)).encode() + b"\n"
        if self._file is None:
            self.part_path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: a line that does not fit cannot stay behind in memory.
            self._file = self.part_path.open("wb", buffering=0)
        start = self._file.tell()
        written = 0
        try:
            while written < len(line):
                written += self._file.write(line[written:])
        except BaseException:
            self._file.truncate(start)
            self._file.seek(start)
            if not start:
                self.part_path.unlink()
                self._file = None
            raise
        self.num_images += 1

    def finish(self, num_landmarks: int) -> None:
        """Writes the final file from the part file, which is then removed.

        Raises:
            OSError: as for :meth:`append`; the part file stays where it is.
        """
        if self._file is not None:
            self._file.close()
        lines = _to_json if self.path.suffix == ".json" else _to_csv
        with replace_when_done(self.path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            file.writelines(lines(self._lines(), num_landmarks))
        self.part_path.unlink(missing_ok=True)

    def _lines(self) -> Iterator[str]:
        if self.num_images:
            with self.part_path.open(encoding="utf-8") as file:
                yield from file


def _to_json(lines: Iterator[str], num_landmarks: int) -> Iterator[str]:
    before = "[\n"
    for line in lines:
        yield before + line.rstrip("\n")
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def _to_csv(lines: Iterator[str], num_landmarks: int) -> Iterator[str]:
    yield csv_header(num_landmarks)
    for line in lines:
        record: dict[str, Any] = json.loads(line)
        yield csv_rows(record)
