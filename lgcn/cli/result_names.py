"""Names of the files that ``lgcn predict`` writes for single images, such that none replaces another."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path

from lgcn.cli.images import OVERLAY_ENDING
from lgcn.cli.messages import tell

_FACE_NUMBER = re.compile(r"_\d+(?:_face)*\Z")
_NOTES = 3
"""Number of renamed results that are reported individually."""


class ResultNames:
    """Names files after their images; images of the same name are numbered.

    Args:
        folder: where the files lie.
        images: all images that may have files.
        earlier: the images that have files from an earlier run, with the names of those if they are not the image's.
    """

    def __init__(self, folder: Path, images: Sequence[Path], earlier: Mapping[str, str | None]) -> None:
        self.folder = folder
        self._stems = {name: stem or _shortened(Path(name).stem) for name, stem in earlier.items()}
        new = [path for path in images if str(path) not in self._stems]
        stems = unique_stems(new, set(map(_as_one, self._stems.values())))
        self._stems |= dict(zip(map(str, new), stems, strict=True))
        self._taken = set(map(_as_one, self._stems.values()))
        renamed = [path for path in new if self.is_renamed(str(path))]
        for path in renamed[:_NOTES]:
            stem = self.stem(str(path))
            tell("note", f"The files of '{path}' are named '{stem}': another image is called '{path.stem}'.")
        if len(renamed) > _NOTES:
            tell("note", f"The files of {len(renamed) - _NOTES} more images are numbered in the same way.")

    def stem(self, name: str) -> str:
        """What the names of an image's files start with."""
        return self._stems[name]

    def is_renamed(self, name: str) -> bool:
        """Whether that is not the image's own name."""
        return self._stems[name] != _shortened(Path(name).stem)

    def overlay(self, name: str) -> Path:
        """The overlay of an image."""
        suffix = ".jpg" if Path(name).suffix.lower() in {".jpg", ".jpeg"} else ".png"
        return self.folder / f"{self.stem(name)}{OVERLAY_ENDING}{suffix}"

    def of_face(self, name: str, number: int, ending: str) -> Path:
        """A file of one face: ``photo.pts``, ``photo_1.pts``, ..."""
        stem = self.stem(name)
        if number:
            stem = f"{stem}_{number}"
            # Another image may have that name: photo.jpg with two faces next to photo_1.jpg.
            while _as_one(stem) in self._taken:
                stem += "_face"
        return self.folder / f"{stem}{ending}"

    def check_inputs(self, images: Sequence[Path], inputs: Iterable[Path], overlay: bool, pts: bool) -> None:
        """Check that the files of ``images`` replace no input and no annotation."""
        from lgcn.checks import InputFileError
        from lgcn.files import real_path

        places = set(map(real_path, inputs))
        for path in images:
            target = self.overlay(str(path))
            if overlay and real_path(target) in places:
                raise InputFileError(
                    f"Expected another folder for '--output' (got '{self.folder}', where the overlay of '{path}' would "
                    f"replace the input '{target.name}')."
                )
            annotation = path.with_suffix(".pts")
            if pts and annotation.exists() and real_path(path.parent) == real_path(self.folder):
                raise InputFileError(
                    f"Expected another folder for '--output' (got '{self.folder}', where '{annotation.name}' lies "
                    "next to its image and may be its annotation)."
                )

    def earlier_files(self, ending: str) -> list[Path]:
        """The files of faces in the folder that have the names of results."""
        stems = set(self._stems.values())
        files = sorted(self.folder.glob(f"*{ending}")) if self.folder.is_dir() else []
        names = {path: path.name.removesuffix(ending) for path in files}
        return [path for path, name in names.items() if {name, _FACE_NUMBER.sub("", name, count=1)} & stems]


def unique_stems(images: Sequence[Path], taken: set[str] | None = None) -> list[str]:
    """The name of each image without its suffix, with ``-2``, ``-3``, ... if an earlier image has the same.

    Neither case nor the way in which accents are encoded distinguishes names, as in some file systems. Names are
    shortened until their results can be written.

    Args:
        images: paths.
        taken: names that are not to be used, as :func:`_as_one` gives them.
    """
    taken = set(taken or ())
    stems: list[str] = []
    following: dict[str, int] = {}
    for path in images:
        name = _shortened(path.stem)
        candidates = ((number, name if number == 1 else f"{name}-{number}") for number in count(following.get(name, 1)))
        number, stem = next(each for each in candidates if _as_one(each[1]) not in taken)
        following[name] = number + 1
        taken.add(_as_one(stem))
        stems.append(stem)
    return stems


def _as_one(stem: str) -> str:
    """The same for all names that are one to a file system which ignores case and normalises Unicode, as on macOS."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", stem).casefold())


def _shortened(stem: str) -> str:
    """At most so many bytes that ``-1234_overlay.png`` still fits; most file systems allow 255 in a name."""
    while len(stem.encode(errors="surrogateescape")) > 230:
        stem = stem[:-1]
    return stem
