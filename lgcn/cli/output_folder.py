"""The folder that ``lgcn predict`` writes to: the record of the run, files for each image, files for the whole run."""

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from lgcn.cli.images import ALIGNED_ENDING
from lgcn.cli.messages import counted, tell
from lgcn.cli.result_names import ResultNames
from lgcn.cli.writable import check_not_replaced, check_writable_folder, writing_to

if TYPE_CHECKING:
    from lgcn.predict import Face, PreparedImage
    from lgcn.schemes import LandmarkScheme

RECORD, SETTINGS, UNREADABLE, REPORT = "landmarks.jsonl", "settings.json", "unreadable.csv", "report.html"


class OutputFolder:
    """Writes the results of images as they are made.

    The record of an image, a line of ``landmarks.jsonl``, is written after its other files: an image in the record is
    done. Nothing that is written replaces an input, an annotation, or the result of another image; earlier results only
    with ``overwrite`` or ``resume``.

    Args:
        folder: created when something is written.
        images: all images whose results may be written.
        settings: what the results depend on, to be the same if an earlier run is continued.
        file_format: ``"jsonl"``, which is written in any case, a key of :data:`lgcn.predict.exports.EXPORTS`, or
            ``"pts"``.
        overlay: arguments of :func:`lgcn.visualization.draw_landmarks` if overlays are written.
        aligned: side of the aligned crops if they are written.
        report: whether an HTML report is written.
        overwrite: whether earlier results may be replaced.
        resume: whether an earlier run in the folder is continued; ``done`` then names the images that are in it.

    Raises:
        InputFileError: if something would be replaced, ``folder`` cannot be written to, or the earlier run had other
            settings.
    """

    def __init__(
        self,
        folder: Path,
        images: Sequence[Path],
        settings: dict[str, Any],
        *,
        file_format: str,
        overlay: dict[str, Any] | None = None,
        aligned: int | None = None,
        report: bool = False,
        overwrite: bool = False,
        resume: bool = False,
    ) -> None:
        from lgcn.predict.exports import EXPORTS
        from lgcn.predict.record_file import RecordFile

        check_writable_folder("--output", folder)
        self.folder, self.pts, self.overlay, self.aligned = folder, file_format == "pts", overlay, aligned
        self._report = folder / REPORT if report else None
        # Marks are compared as JSON gives them back.
        self._files: dict[str, Any] = {"pts": {}} if self.pts else {}
        self._files |= {"overlay": overlay} if overlay is not None else {}
        self._settings = settings
        self._overwrite = overwrite
        self._record = RecordFile(folder / RECORD)
        self._export = (folder / EXPORTS[file_format][0], EXPORTS[file_format][1]) if file_format in EXPORTS else None
        earlier: dict[str, dict[str, Any]] = {}
        if resume and self._record.path.is_file():
            self._check_settings()
            earlier = self._record.resume()
        self.num_before = self._record.num_images
        # An image may be given by another path than before, such as an absolute one.
        known = {os.path.abspath(name) for name in earlier}  # noqa: PTH100 - links are images of their own
        given = {os.path.abspath(path): path for path in images}  # noqa: PTH100
        self.done = {str(path) for each, path in given.items() if each in known}
        if len(known) > len(self.done):
            gone = counted(len(known) - len(self.done), "image")
            tell("note", f"'{self._record.path}' also has the results of {gone} that this run was not given.")
        images = [path for path in images if str(path) not in self.done]
        self._names = ResultNames(folder, images, {name: each.get("files") for name, each in earlier.items()})
        self._names.check_inputs(images, given.values(), overlay is not None, self.pts)
        if not earlier:
            results = [self._record.path, *([self._export[0]] if self._export else [])]
            results += [self._report] if self._report else []
            results += [self._names.overlay(str(path)) for path in images] if overlay is not None else []
            results += self._names.earlier_files(".pts") if self.pts else []
            results += self._names.earlier_files(f"{ALIGNED_ENDING}.png") if aligned else []
            check_not_replaced(results, overwrite)
        self._scheme: LandmarkScheme | None = None
        self._started = False
        self._unreadable: TextIO | None = None
        self._num_files = 0
        self._finished: list[Path] = []

    @property
    def num_images(self) -> int:
        """How many images are in the record, those of an earlier run included."""
        return self._record.num_images

    def start(self, scheme: "LandmarkScheme") -> None:
        """Take the landmark scheme of the results."""
        self._scheme = scheme

    def write(self, image: "PreparedImage", faces: Sequence["Face"]) -> None:
        """Write the results of one image.

        Raises:
            InputFileError: if the disk is full or has become read-only.
        """
        from lgcn.files import write_text
        from lgcn.predict.output import to_record

        assert self._scheme is not None
        with writing_to(self.folder):
            if not self._started:
                if not self._record.num_images:
                    # An earlier record must never lie next to the settings of another run.
                    self._record.begin(replace=self._overwrite)
                self._started = True
                settings = {**self._settings, "files": self._files}
                write_text(self.folder / SETTINGS, json.dumps(settings, indent=2) + "\n")
            if self.pts:
                self._write_pts(image.name, faces)
            if self.overlay is not None and faces:
                from lgcn.visualization import save_overlay

                save_overlay(self._names.overlay(image.name), image.image, faces, self._scheme, **self.overlay)
                self._num_files += 1
            record = to_record(image.name, faces)
            if self.aligned is not None:
                self._write_aligned(image, faces, record)
            if self._names.is_renamed(image.name):
                record = {"image": image.name, "files": self._names.stem(image.name), "faces": record["faces"]}
            self._record.append(record)

    def report_unreadable(self, name: str, error: Exception) -> None:
        """Add an image that could not be used to ``unreadable.csv``."""
        from lgcn.files import escape_name, printable

        with writing_to(self.folder):
            if self._unreadable is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._unreadable = (self.folder / UNREADABLE).open("w", encoding="utf-8", newline="")
                csv.writer(self._unreadable, lineterminator="\n").writerow(["image", "reason"])
            row = [escape_name(name), printable(str(error))]
            csv.writer(self._unreadable, lineterminator="\n").writerow(row)
            self._unreadable.flush()

    def finish(self) -> None:
        """Write the files that cover all images.

        Raises:
            InputFileError: as for :meth:`write`; the record stays as it is.
        """
        self._record.close()
        if self._started and not self.num_images:
            self._record.path.unlink(missing_ok=True)
        if self._unreadable is not None:
            self._unreadable.close()
        elif self.num_images:
            (self.folder / UNREADABLE).unlink(missing_ok=True)
        if self._scheme is not None and self._export is not None and self.num_images:
            path, write = self._export
            with writing_to(self.folder):
                write(path, self._record.records(), self._scheme.num_landmarks)
            self._finished.append(path)
        if self._scheme is not None and self._report is not None and self.num_images:
            with writing_to(self.folder):
                self._write_report()

    def describe(self) -> str:
        """What was written, as in ``2 faces in 3 images; written: out/landmarks.jsonl, out/landmarks.json``."""
        written = [str(self._record.path)] if self.num_images else []
        written += [counted(self._num_files, "file") + " of single images"] if self._num_files else []
        names = ", ".join([*written, *map(str, self._finished)]) or "nothing"
        earlier = f" ({self.num_before} of them earlier)" if self.num_before else ""
        return (
            f"{counted(self._record.num_faces, 'face')} in {counted(self.num_images, 'image')}{earlier}; "
            f"written: {names}"
        )

    def _write_pts(self, name: str, faces: Sequence["Face"]) -> None:
        from lgcn.predict import save_pts

        for number, face in enumerate(faces):
            save_pts(self._names.of_face(name, number, ".pts"), face.landmarks)
            self._num_files += 1

    def _write_aligned(self, image: "PreparedImage", faces: Sequence["Face"], record: dict[str, Any]) -> None:
        """Write the aligned crops, and add their transforms to the record."""
        from PIL import Image

        from lgcn.files import write_from_memory
        from lgcn.predict import align_face

        assert self._scheme is not None
        assert self.aligned is not None
        for number, face in enumerate(faces):
            crop, affine = align_face(image.image, face, self._scheme, self.aligned)
            with write_from_memory(self._names.of_face(image.name, number, f"{ALIGNED_ENDING}.png")) as buffer:
                Image.fromarray(crop.permute(1, 2, 0).contiguous().numpy()).save(buffer, "PNG")
            record["faces"][number]["aligned"] = [[round(value, 6) for value in row] for row in affine.tolist()]
            self._num_files += 1

    def _write_report(self) -> None:
        from lgcn.visualization import save_html_report

        assert self._scheme is not None
        assert self._report is not None
        reasons: dict[str, str] = {}
        path = self.folder / UNREADABLE
        if path.is_file():
            with path.open(encoding="utf-8", newline="") as file:
                reasons = {row["image"]: row["reason"] for row in csv.DictReader(file)}
        title = f"Landmarks in {counted(self.num_images, 'image')}"
        save_html_report(self._report, self._record.records(), self._scheme, unreadable=reasons, title=title)
        self._finished.append(self._report)

    def _check_settings(self) -> None:
        """Check that the earlier run had the settings of this one: the results would not belong together."""
        from lgcn.checks import InputFileError

        path = self.folder / SETTINGS
        try:
            earlier = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise InputFileError(
                f"Expected the settings of the run to resume in '{path}' (there are none that can be read). "
                "Start again with '--overwrite'."
            ) from None
        for kind, options in self._files.items():
            before = earlier.get("files", {}).get(kind)
            if before != options:
                got = "without" if before is None else f"with {before}"
                raise InputFileError(
                    f"Expected every image of the run to resume in '{self.folder}' to have the files that this one "
                    f"writes (got {kind} with {options}, before {got}). Repeat the options, choose another '--output', "
                    "or start again with '--overwrite'."
                )
        for name in self._settings:
            if earlier.get(name) != self._settings[name]:
                raise InputFileError(
                    f"Expected the settings of the run to resume in '{self.folder}' (got {name} = "
                    f"{self._settings[name]!r}, before {earlier.get(name)!r}). Repeat them, choose another '--output', "
                    "or start again with '--overwrite'."
                )
