"""Write the results of ``lgcn predict`` to standard output, as they are made."""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lgcn.cli.messages import counted

if TYPE_CHECKING:
    from lgcn.predict import Face, PreparedImage
    from lgcn.schemes import LandmarkScheme


class StandardOutput:
    """Prints JSON, JSON Lines or CSV image by image; the text is valid UTF-8 in any encoding of the stream.

    Args:
        file_format: ``"json"``, ``"jsonl"`` or ``"csv"``.
    """

    def __init__(self, file_format: str) -> None:
        self.file_format = file_format
        self.num_images = self.num_faces = 0
        self.done: set[str] = set()
        self._num_landmarks = 0
        self._encoding = sys.stdout.encoding or "ascii"

    def start(self, scheme: "LandmarkScheme") -> None:
        """Take the landmark scheme of the results."""
        self._num_landmarks = scheme.num_landmarks

    def write(self, image: "PreparedImage", faces: Sequence["Face"]) -> None:
        """Print the results of one image."""
        from lgcn.predict.output import to_record

        self.write_record(to_record(image.name, faces))

    def write_record(self, record: dict[str, Any]) -> None:
        """Print the results of one image or frame, with its ``"faces"``."""
        from lgcn.predict.output import csv_header, csv_rows, json_line

        if self.file_format == "json":
            self._print(f"{',' if self.num_images else '['}\n{json_line(record, self._encoding)}")
        elif self.file_format == "jsonl":
            self._print(f"{json_line(record, self._encoding)}\n")
        else:
            header = "" if self.num_images else csv_header(self._num_landmarks)
            self._print(header + csv_rows(record, self._encoding))
        self.num_images += 1
        self.num_faces += len(record["faces"])

    def report_unreadable(self, name: str, error: Exception) -> None:
        """Do nothing: the error has been printed."""

    def finish(self) -> None:
        """Print what closes the text, so that it can be parsed."""
        if self.file_format == "json" and self.num_images:
            self._print("\n]\n")

    def describe(self) -> str:
        """What was printed."""
        return f"{counted(self.num_faces, 'face')} in {counted(self.num_images, 'image')} printed"

    def _print(self, text: str) -> None:
        from lgcn.checks import InputFileError

        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            # The rest of the buffer cannot be written either, and the interpreter would retry on exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise InputFileError(
                f"Expected to be able to write to standard output ({error.strerror or error})."
            ) from error
