"""Results on disk as they are made: JSON Lines that an interrupted run leaves whole and a later one continues."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from lgcn.checks import InputFileError
from lgcn.predict.output import json_line

_PATIENCE = 10.0
"""Seconds to wait for another process to let go of the file."""


class RecordFile:
    """A JSON Lines file with the record of one image a line, ``{"image": ..., "faces": [...]}``.

    Each line reaches the operating system before the next image is predicted: after ``kill -9`` all lines are whole,
    except perhaps the last, which :meth:`resume` drops.

    Args:
        path: created when the first record is appended; replaces a file there unless :meth:`resume` is called.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.num_images = self.num_faces = 0
        self._file: BinaryIO | None = None

    def resume(self) -> dict[str, dict[str, Any]]:
        """Continues the file of an earlier run.

        Returns:
            The name of each image in it, with its record apart from the faces.

        Raises:
            InputFileError: if a line before the last is not such a record, or another process writes to the file.
        """
        if not self.path.is_file():
            return {}
        self._file = self.path.open("r+b", buffering=0)
        _lock(self._file, self.path)
        with self.path.open("rb") as file:
            lines = 0
            while (line := file.readline()).endswith(b"\n"):
                lines += 1
            end = file.tell() - len(line)
        self._file.truncate(end)
        self._file.seek(end)
        found = {}
        for record in self.records():
            found[record["image"]] = {key: value for key, value in record.items() if key != "faces"}
            self.num_faces += len(record["faces"])
        self.num_images = lines
        return found

    def begin(self, *, replace: bool = True) -> None:
        """Create the file, or empty that of an earlier run, for this process alone.

        Args:
            replace: whether the records of an earlier run may be lost.

        Raises:
            InputFileError: if another process writes to the file, or it has records that may not be lost.
        """
        if self._file is not None:
            return  # resumed without records
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered: a line that does not fit cannot stay behind in memory.
        # Not emptied before it is locked: another run may be writing to it.
        self._file = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
        try:
            _lock(self._file, self.path)
            if not replace and self.path.stat().st_size:
                raise InputFileError(
                    f"Expected not to replace earlier results (got '{self.path}', which another run has written "
                    "meanwhile). Choose another '--output', or replace them with '--overwrite'."
                )
        except InputFileError:
            self.close()
            raise
        self._file.truncate(0)

    def append(self, record: dict[str, Any]) -> None:
        """Write the record of one image, whole or not at all.

        Raises:
            OSError: if the disk is full or has become read-only.
        """
        line = json_line(record).encode() + b"\n"
        if self._file is None:
            self.begin()
            assert self._file is not None
        start = self._file.tell()
        written = 0
        try:
            while written < len(line):
                written += self._file.write(line[written:])
        except BaseException:
            self._file.truncate(start)
            self._file.seek(start)
            if not start:
                self.close()
                self.path.unlink()
            raise
        self.num_images += 1
        self.num_faces += len(record["faces"])

    def lines(self) -> Iterator[str]:
        """The lines so far, each with its line break; none if there is no file."""
        if self._file is not None or self.num_images:
            with self.path.open(encoding="utf-8") as file:
                yield from file

    def records(self) -> Iterator[dict[str, Any]]:
        """The records so far.

        Raises:
            InputFileError: naming a line that is not one.
        """
        for number, line in enumerate(self.lines(), start=1):
            try:
                record = json.loads(line)
                if isinstance(record["image"], str) and isinstance(record["faces"], list):
                    yield record
                    continue
            except (ValueError, TypeError, KeyError):
                pass
            raise InputFileError(
                f'Expected a record {{"image": ..., "faces": [...]}} in line {number} of \'{self.path}\' '
                f"(got '{line[:60].rstrip()}'). Repair or remove the line, or choose another folder."
            )

    def close(self) -> None:
        """Close the file; what it holds can still be read."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _lock(file: BinaryIO, path: Path) -> None:
    """Keep other processes from writing to a file until this one closes it or ends.

    Waits a little: the workers of a process that was killed end some seconds after it.

    Raises:
        InputFileError: if another process holds the lock.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise InputFileError(
                    f"Expected '{path}' not to be in use (another process is writing to it). Wait until it has ended, "
                    "or choose another folder."
                ) from None
            time.sleep(0.1)
        except OSError:  # some network file systems have no locks
            return
