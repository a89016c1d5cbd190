"""Checks of folders with ``.pts`` files: files without a partner, and ``.pts`` files that cannot be read."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from lgcn.checks import InputFileError
from lgcn.datasets.base import LandmarkDataset
from lgcn.datasets.check.report import Finding
from lgcn.datasets.ibug300w import IBUG300W, folders_of_split, place_under
from lgcn.datasets.pts import files_of, pair_with_pts, read_pts
from lgcn.datasets.pts_folder import PtsFolder, pts_files


def pts_files_of(build: type[LandmarkDataset], root: Path, split: str) -> list[Path]:
    """The files of a split whose annotations are ``.pts`` files; empty for other datasets.

    Raises:
        InputFileError: if the split is not a folder, or a folder may not be listed.
    """
    if issubclass(build, IBUG300W):
        folders = [root / place_under(root, folder) for folder in folders_of_split(root, split)]
        return [path for folder in folders if folder.is_dir() for path in files_of(folder)]
    return pts_files(root, split) if issubclass(build, PtsFolder) else []


def check_partners(root: Path, files: Sequence[Path], split: str) -> Iterator[Finding]:
    """Yield images without a ``.pts``, and the reverse."""
    try:
        _, images, points = pair_with_pts(files)
    except InputFileError:  # two files with the same name, which reading the split reports
        return
    for path in sorted((*images, *points)):
        if path.suffix.lower() == ".pts":
            others = [each.name for each in files if each.with_suffix("") == path.with_suffix("") and each != path]
            found = f" (Pillow cannot open '{others[0]}': convert it)" if others else ""
            message = f"no image '{path.stem}' next to the points{found}"
        else:
            message = f"no '{path.stem}.pts' next to the image"
        yield Finding("alone", split, path.relative_to(root).as_posix(), None, message)


def check_pts_files(
    root: Path, files: Sequence[Path], split: str, num_landmarks: int | None, allow_missing: bool
) -> Iterator[Finding]:
    """Yield ``.pts`` files that cannot be read; the dataset itself stops at the first."""
    for path in files:
        if path.suffix.lower() == ".pts":
            try:
                read_pts(path, num_landmarks, allow_missing=allow_missing)
            except InputFileError as error:
                yield Finding("unreadable_annotation", split, path.relative_to(root).as_posix(), None, str(error))
