"""Where ``lgcn predict`` writes: names that do not collide, overlays, ``.pts`` files, and its words on stderr."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lgcn.predict import Face, Picture
    from lgcn.schemes import LandmarkScheme

OVERLAY_ENDING = "_overlay"
"""Comes after the picture's own name in the name of its overlay."""


class OutputFolder:
    """The folder that results are written to, and their names in it.

    Nothing that is written replaces an input, an annotation, or the result of another picture.

    Args:
        folder: created when something is written.
        pictures: all pictures whose results may be written.
        overlay: whether overlays are written.
        edges: how many learned edges they show.
        pts: whether ``.pts`` files are written.

    Raises:
        InputFileError: if something would be replaced, or ``folder`` cannot be one.
    """

    def __init__(self, folder: Path, pictures: Sequence[Path], *, overlay: bool, edges: int, pts: bool) -> None:
        from lgcn.checks import InputFileError
        from lgcn.predict.output import check_folder, unique_stems

        self.folder = check_folder(folder)
        self.overlay = overlay
        self.edges = edges
        self.pts = pts
        self.written: list[Path] = []
        self.stems = dict(zip(map(str, pictures), unique_stems(pictures), strict=True))
        self._taken = {stem.casefold() for stem in self.stems.values()}
        inputs = {path.resolve() for path in pictures}
        for path in pictures:
            stem = self.stems[str(path)]
            if stem != path.stem:
                tell("note", f"The files of '{path}' are named '{stem}': another picture is called '{path.stem}'.")
            if self.overlay and self._overlay_of(path).resolve() in inputs:
                raise InputFileError(
                    f"Expected another folder for '--output' (got '{self.folder}', where the overlay of '{path}' would "
                    f"replace the input '{self._overlay_of(path).name}')."
                )
            annotation = path.with_suffix(".pts")
            if self.pts and annotation.exists() and path.parent.resolve() == self.folder.resolve():
                raise InputFileError(
                    f"Expected another folder for '--output' (got '{self.folder}', where '{annotation.name}' lies "
                    "beside its picture and may be its annotation)."
                )

    def write_image(self, picture: "Picture", faces: Sequence["Face"], scheme: "LandmarkScheme") -> None:
        """Writes what there is one of for each picture or face."""
        if not faces:
            return
        with writing_to(self.folder):
            if self.overlay:
                from lgcn.visualization import save_overlay

                path = self._overlay_of(Path(picture.name))
                save_overlay(path, picture.image, faces, scheme, edges=self.edges)
                self.written.append(path)
            if self.pts:
                from lgcn.predict import save_pts

                for number, face in enumerate(faces):
                    path = self.folder / f"{self._face_stem(picture.name, number)}.pts"
                    save_pts(path, face.landmarks)
                    self.written.append(path)

    def _overlay_of(self, path: Path) -> Path:
        suffix = ".jpg" if path.suffix.lower() in {".jpg", ".jpeg"} else ".png"
        return self.folder / f"{self.stems[str(path)]}{OVERLAY_ENDING}{suffix}"

    def _face_stem(self, name: str, number: int) -> str:
        stem = self.stems[name]
        if number == 0:
            return stem
        stem = f"{stem}_{number}"
        # Another picture may be called so: photo.jpg with two faces beside photo_1.jpg.
        while stem.casefold() in self._taken:
            stem += "_face"
        self._taken.add(stem.casefold())
        return stem


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """A folder that is full or not writable is the user's to mend, not a fault of the program."""
    from lgcn.checks import InputFileError

    try:
        yield
    except OSError as error:
        raise InputFileError(
            f"Expected to be able to write to '{folder}' ({error.strerror or error}). Give another '--output'."
        ) from error


def tell(kind: str, message: object) -> None:
    """One line on stderr, past a progress bar."""
    from tqdm import tqdm

    tqdm.write(f"lgcn: {kind}: {message}", file=sys.stderr)
