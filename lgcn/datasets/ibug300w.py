"""300-W (Sagonas et al. 2013): AFW, HELEN, LFPW and iBUG with 68 landmarks each."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch_geometric.data import Data

from lgcn.checks import InputFileError
from lgcn.datasets.base import Completeness, LandmarkDataset
from lgcn.datasets.pts import read_pts
from lgcn.protocols import Protocol, get_protocol
from lgcn.schemes import get_scheme

FOLDER_SIZES = {
    "afw": 337,
    "helen/trainset": 2000,
    "lfpw/trainset": 811,
    "helen/testset": 330,
    "lfpw/testset": 224,
    "ibug": 135,
}
"""Folder, relative to the root -> published number of faces."""

SPLITS = {
    "train": ("afw", "helen/trainset", "lfpw/trainset"),
    "common": ("helen/testset", "lfpw/testset"),
    "challenging": ("ibug",),
    "full": ("helen/testset", "lfpw/testset", "ibug"),
}
"""The splits of the literature -> their folders."""

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")


class IBUG300W(LandmarkDataset):
    r"""The 300-W dataset from the `"300 Faces in-the-Wild Challenge"
    <https://ibug.doc.ic.ac.uk/resources/300-W/>`_, read in its official layout.

    Every picture ``NAME.jpg|png|bmp`` has its ``NAME.pts`` beside it. Splits are ``"train"`` (3148
    faces: afw, helen/trainset, lfpw/trainset), ``"common"`` (554: helen/testset, lfpw/testset),
    ``"challenging"`` (135: ibug), ``"full"`` (689: the last two), or any folder by its name relative
    to ``root``; several are joined by commas. Of a split whose folders are partly there, what is
    there is loaded, see :meth:`completeness`. Annotations are read at once, pictures on access.

    The annotations are for research, not for commerce; fetch the archives from the address above.

    Args:
        root: folder that holds ``afw``, ``helen``, ``ibug``, ``lfpw``.
        split: as above.
        transform: from ``Data`` to ``Data``, applied on access.
        protocol: name of an evaluation protocol, or one; its ``point_offset`` is added to the 1-based points.
        normalizer: ``"inter_ocular"``, ``"inter_pupil"`` or ``"box"``; the protocol's, else inter-ocular, if None.

    Raises:
        InputFileError: if the root or all folders of the split are missing, a picture has no
            ``.pts``, or one cannot be read.
    """  # noqa: D205

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        transform: Callable[[Data], Data] | None = None,
        protocol: str | Protocol = "zero_based",
        normalizer: str | None = None,
    ) -> None:
        root = Path(root).expanduser()
        scheme, protocol = get_scheme("ibug68"), get_protocol(protocol)
        self.split = split
        self.folder_counts: dict[str, int | None] = {}
        pictures: list[str] = []
        points: list[Path] = []
        for folder in _folders_of(root, split):
            is_there = (root / folder).is_dir()
            pairs = _annotated_pictures(root, folder) if is_there else []
            self.folder_counts[folder] = len(pairs) if is_there else None
            pictures += [picture for picture, _ in pairs]
            points += [annotation for _, annotation in pairs]
        if not pictures:
            raise InputFileError(
                f"Expected pictures of split '{split}' in {_listed(self.folder_counts)} under '{root}' "
                f"(got none). {_what_is_there(root)}"
            )
        pos = torch.stack([read_pts(path, scheme.num_landmarks) for path in points]) + protocol.point_offset
        super().__init__(root, pictures, pos, scheme, transform=transform, protocol=protocol, normalizer=normalizer)

    @property
    def expected_len(self) -> int | None:
        sizes = [FOLDER_SIZES.get(folder) for folder in self.folder_counts]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def completeness(self) -> Completeness:
        found, expected = len(self.image_ids), self.expected_len
        missing = [folder for folder, count in self.folder_counts.items() if count is None]
        differing = [
            f"{folder} {count} of {FOLDER_SIZES[folder]}"
            for folder, count in self.folder_counts.items()
            if count is not None and folder in FOLDER_SIZES and count != FOLDER_SIZES[folder]
        ]
        reasons = [f"missing folders: {', '.join(missing)}"] if missing else []
        reasons += [f"incomplete folders: {', '.join(differing)}"] if differing else []
        if not reasons:
            return Completeness(found, expected, None)
        of = "" if expected is None else f" of {expected}"
        return Completeness(found, expected, f"split '{self.split}': {found}{of} faces ({'; '.join(reasons)})")


def _folders_of(root: Path, split: str) -> list[str]:
    """Folders of a split, each once and in order; checks that the root and unnamed folders are there."""
    if not root.is_dir():
        raise InputFileError(
            f"Expected the folder of 300-W at '{root}' (there is no such folder). It must hold "
            f"{_listed(FOLDER_SIZES)}, each picture with its .pts beside it, as the archives of 300-W unpack."
        )
    folders: dict[str, None] = {}
    for part in split.split(","):
        name = part.strip()
        known = name in SPLITS or name in FOLDER_SIZES
        folder = Path(name).as_posix()
        if not known and (not name or not (root / name).is_dir()):
            raise InputFileError(
                f"Expected 'split' to be one of {', '.join(SPLITS)}, or a folder relative to '{root}', or several "
                f"joined by commas (got '{name}'). {_what_is_there(root)}"
            )
        folders.update(dict.fromkeys(SPLITS.get(name, (folder,))))
    return list(folders)


def _annotated_pictures(root: Path, folder: str) -> list[tuple[str, Path]]:
    """Pictures of a folder, relative to the root and sorted, with their ``.pts``."""
    files = sorted(path for path in (root / folder).iterdir() if not path.name.startswith("."))
    annotations = {path.stem: path for path in files if path.suffix.lower() == ".pts"}
    pictures = [path for path in files if path.suffix.lower() in _SUFFIXES]
    alone = [path for path in pictures if path.stem not in annotations]
    if alone:
        named = ", ".join(f"'{path}'" for path in alone[:3])
        raise InputFileError(
            f"Expected a .pts file beside every picture (got none for {named}"
            f"{f' and {len(alone) - 3} more' if len(alone) > 3 else ''}). Add the annotation or remove the picture."
        )
    return [(path.relative_to(root).as_posix(), annotations[path.stem]) for path in pictures]


def _what_is_there(root: Path) -> str:
    """The folders under ``root`` that hold annotated faces, for an error message."""
    folders = [
        Path(folder).relative_to(root).as_posix()
        for folder, _, files in os.walk(root)
        if any(name.lower().endswith(".pts") for name in files)
    ]
    if not folders:
        return f"No folder under it holds .pts files; 300-W unpacks to {_listed(FOLDER_SIZES)}."
    more = f" and {len(folders) - 10} more" if len(folders) > 10 else ""
    return f"Folders with .pts files there: {_listed(sorted(folders)[:10])}{more}."


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
