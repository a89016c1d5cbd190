"""The folder that ``lgcn predict`` writes to: names that do not collide, overlays, ``.pts`` files, the landmarks."""

import re
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from lgcn.cli.images import OVERLAY_ENDING
from lgcn.cli.messages import counted, tell
from lgcn.cli.writable import check_not_replaced, check_writable_folder, writing_to

if TYPE_CHECKING:
    from lgcn.predict import Face, PreparedImage
    from lgcn.schemes import LandmarkScheme

_FACE_NUMBER = re.compile(r"_\d+(?:_face)*\Z")
_NOTES = 3
"""Number of renamed results that are reported individually."""


class OutputFolder:
    """Writes the results of images as they are made.

    Nothing that is written replaces an input, an annotation, or the result of another image; earlier results only
    with ``overwrite``.

    Args:
        folder: created when something is written.
        images: all images whose results may be written.
        file_format: ``"json"``, ``"csv"`` or ``"pts"``.
        overlay: whether overlays are written.
        edges: how many learned edges they show.
        overwrite: whether earlier results may be replaced.

    Raises:
        InputFileError: if something would be replaced, or ``folder`` cannot be written to.
    """

    def __init__(
        self,
        folder: Path,
        images: Sequence[Path],
        *,
        file_format: str,
        overlay: bool = False,
        edges: int = 0,
        overwrite: bool = False,
    ) -> None:
        from lgcn.predict.part_file import PartFile

        check_writable_folder("--output", folder)
        self.folder, self.overlay, self.edges = folder, overlay, edges
        self.part = None if file_format == "pts" else PartFile(folder / f"landmarks.{file_format}")
        self.num_images = self.num_faces = 0
        self._num_landmarks: int | None = None
        self._written: list[Path] = []
        self._stems = dict(zip(map(str, images), unique_stems(images), strict=True))
        self._taken = {stem.casefold() for stem in self._stems.values()}
        self._tell_renamed(images)
        self._check_inputs(images)
        results = [] if self.part is None else [self.part.path, self.part.part_path]
        results += [self._overlay_of(str(path)) for path in images] if overlay else []
        results += self._earlier_pts_files() if self.part is None else []
        check_not_replaced(results, overwrite)

    def write(self, image: "PreparedImage", faces: Sequence["Face"], scheme: "LandmarkScheme") -> None:
        """Writes the results of one image.

        Raises:
            InputFileError: if the disk is full or has become read-only.
        """
        self._num_landmarks = scheme.num_landmarks
        with writing_to(self.folder):
            if self.part is not None:
                self.part.append(image.name, faces)
            else:
                self._write_pts(image.name, faces)
            self.num_images += 1
            self.num_faces += len(faces)
            # Last, since it takes the most room: a disk that it does not fit on still has the landmarks.
            if self.overlay and faces:
                from lgcn.visualization import save_overlay

                path = self._overlay_of(image.name)
                save_overlay(path, image.image, faces, scheme, edges=self.edges)
                self._written.append(path)

    def finish(self) -> None:
        """Writes the files that cover all images.

        Raises:
            InputFileError: as for :meth:`write`; the landmarks stay in the part file.
        """
        if self.part is not None and self._num_landmarks is not None:
            with writing_to(self.folder):
                self.part.finish(self._num_landmarks)
            self._written.append(self.part.path)

    def describe(self) -> str:
        """What was written, as in ``2 faces in 3 images; written: out/landmarks.json``."""
        written = [str(path) for path in self._written]
        if self.part is not None and self.part.path not in self._written and self.part.part_path.exists():
            written.append(str(self.part.part_path))
        if len(written) > 3:
            written = [written[0], f"{len(written) - 2} more", written[-1]]
        names = ", ".join(written) or "nothing"
        return f"{counted(self.num_faces, 'face')} in {counted(self.num_images, 'image')}; written: {names}"

    def _write_pts(self, name: str, faces: Sequence["Face"]) -> None:
        from lgcn.predict import save_pts

        for number, face in enumerate(faces):
            path = self.folder / f"{self._face_stem(name, number)}.pts"
            save_pts(path, face.landmarks)
            self._written.append(path)

    def _tell_renamed(self, images: Sequence[Path]) -> None:
        renamed = [path for path in images if self._stems[str(path)] != path.stem]
        for path in renamed[:_NOTES]:
            stem = self._stems[str(path)]
            tell("note", f"The files of '{path}' are named '{stem}': another image is called '{path.stem}'.")
        if len(renamed) > _NOTES:
            tell("note", f"The files of {len(renamed) - _NOTES} more images are numbered in the same way.")

    def _check_inputs(self, images: Sequence[Path]) -> None:
        """Checks that no input and no annotation would be replaced."""
        from lgcn.checks import InputFileError

        inputs = {path.resolve() for path in images}
        for path in images:
            overlay = self._overlay_of(str(path))
            if self.overlay and overlay.resolve() in inputs:
                raise InputFileError(
                    f"Expected another folder for '--output' (got '{self.folder}', where the overlay of '{path}' would "
                    f"replace the input '{overlay.name}')."
                )
            annotation = path.with_suffix(".pts")
            if self.part is None and annotation.exists() and path.parent.resolve() == self.folder.resolve():
                raise InputFileError(
                    f"Expected another folder for '--output' (got '{self.folder}', where '{annotation.name}' lies "
                    "next to its image and may be its annotation)."
                )

    def _earlier_pts_files(self) -> list[Path]:
        """The ``.pts`` files in the folder that have the names of results."""
        stems = set(self._stems.values())
        files = sorted(self.folder.glob("*.pts")) if self.folder.is_dir() else []
        return [path for path in files if {path.stem, _FACE_NUMBER.sub("", path.stem, count=1)} & stems]

    def _overlay_of(self, name: str) -> Path:
        suffix = ".jpg" if Path(name).suffix.lower() in {".jpg", ".jpeg"} else ".png"
        return self.folder / f"{self._stems[name]}{OVERLAY_ENDING}{suffix}"

    def _face_stem(self, name: str, number: int) -> str:
        stem = self._stems[name]
        if number == 0:
            return stem
        stem = f"{stem}_{number}"
        # Another image may have that name: photo.jpg with two faces next to photo_1.jpg.
        while stem.casefold() in self._taken:
            stem += "_face"
        self._taken.add(stem.casefold())
        return stem


def unique_stems(images: Sequence[Path]) -> list[str]:
    """The name of each image without its suffix, with ``-2``, ``-3``, ... if an earlier image has the same.

    Case does not distinguish names, as in some file systems. Names are shortened until their results can be written.
    """
    taken: set[str] = set()
    stems: list[str] = []
    for path in images:
        name = _shortened(path.stem)
        candidates = (name if number == 1 else f"{name}-{number}" for number in count(1))
        stem = next(each for each in candidates if each.casefold() not in taken)
        taken.add(stem.casefold())
        stems.append(stem)
    return stems


def _shortened(stem: str) -> str:
    """At most so many bytes that ``-1234_overlay.png`` still fits; most file systems allow 255 in a name."""
    while len(stem.encode(errors="surrogateescape")) > 230:
        stem = stem[:-1]
    return stem
