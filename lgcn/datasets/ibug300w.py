"""300-W (Sagonas et al. 2013): AFW, HELEN, LFPW and iBUG with 68 landmarks each."""

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch_geometric.data import Data

from lgcn.checks import InputFileError
from lgcn.datasets.base import LandmarkDataset
from lgcn.datasets.parsing import path_below
from lgcn.datasets.pts import files_of, pair_with_pts, read_pts
from lgcn.images import list_images
from lgcn.protocols import EvaluationProtocol, get_protocol
from lgcn.schemes import get_scheme

FOLDER_SIZES = {
    "afw": 337,
    "helen/trainset": 2000,
    "lfpw/trainset": 811,
    "helen/testset": 330,
    "lfpw/testset": 224,
    "ibug": 135,
    "300W/01_Indoor": 300,
    "300W/02_Outdoor": 300,
}
"""Folder relative to the root -> published number of faces."""

SPLITS = {
    "train": ("afw", "helen/trainset", "lfpw/trainset"),
    "common": ("helen/testset", "lfpw/testset"),
    "challenging": ("ibug",),
    "full": ("helen/testset", "lfpw/testset", "ibug"),
    "private": ("300W/01_Indoor", "300W/02_Outdoor"),
}
"""Split of the literature -> its folders."""

SUBSETS: dict[str, dict[str, tuple[str, ...]]] = {
    "full": {"common": SPLITS["common"], "challenging": SPLITS["challenging"]},
    "private": {"indoor": ("300W/01_Indoor",), "outdoor": ("300W/02_Outdoor",)},
}
"""Split -> subset, in the order of the published tables -> its folders."""

_PRIVATE_PREFIXES = ("300W/", "", "300w/", "300W_test/", "300w_cropped/", "test/", "Test/", "private/")
"""Places of the folders of the private test set in common copies of 300-W."""


class IBUG300W(LandmarkDataset):
    r"""The 300-W dataset from the `"300 Faces in-the-Wild Challenge"
    <https://ibug.doc.ic.ac.uk/resources/300-W/>`_, read in its official layout.

    Every image ``NAME.jpg`` or ``NAME.png`` has its ``NAME.pts`` next to it. Splits are ``"train"`` (3148
    faces: afw, helen/trainset, lfpw/trainset), ``"common"`` (554: helen/testset, lfpw/testset),
    ``"challenging"`` (135: ibug), ``"full"`` (689: the last two, its :attr:`subsets`), ``"private"``
    (600: 300W/01_Indoor and 300W/02_Outdoor, its subsets "indoor" and "outdoor"; the two folders may
    also be in the root, in 300W_test, 300w_cropped or test), or any folder relative to ``root``;
    several are joined by commas. If some folders of a split are missing, the others are loaded, see
    :meth:`completeness`. Annotations are read on construction, images on access.

    The annotations are licensed for research only; get the archives from the address above.

    Args:
        root: folder that holds ``afw``, ``helen``, ``ibug``, ``lfpw`` and, for the private test set, ``300W``.
        split: as above.
        transform: from ``Data`` to ``Data``, applied on access.
        protocol: evaluation protocol or its name; its ``point_offset`` is added to the 1-based points.
        normalizer: ``"inter_ocular"``, ``"inter_pupil"`` or ``"box"``. Default: the protocol's, else inter-ocular.

    Raises:
        InputFileError: if the root or all folders of the split are missing, a folder may not be
            listed, an image has no ``.pts``, or one cannot be read.
    """  # noqa: D205

    splits = {split: sum(FOLDER_SIZES[folder] for folder in folders) for split, folders in SPLITS.items()}
    layout = (
        "300-W unpacks to afw, helen/trainset, helen/testset, lfpw/trainset, lfpw/testset, ibug and (private test set) "
        "300W/01_Indoor and 300W/02_Outdoor, each image with its .pts next to it; get the archives from "
        "https://ibug.doc.ic.ac.uk/resources/300-W/."
    )

    missing_remedy = "remove the face, since 300-W has no missing points"

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        transform: Callable[[Data], Data] | None = None,
        protocol: str | EvaluationProtocol = "zero_based",
        normalizer: str | None = None,
    ) -> None:
        root = Path(root).expanduser()
        scheme, protocol = get_scheme("ibug68"), get_protocol(protocol)
        self.folder_counts: dict[str, int | None] = {}
        self.lone_points: list[Path] = []
        """``.pts`` files without an image, which are left out."""
        images: list[str] = []
        points: list[Path] = []
        folder_of: list[str] = []
        for folder in folders_of_split(root, split):
            place = root / place_under(root, folder)
            if not place.is_dir():
                self.folder_counts[folder] = None
                continue
            pairs, lone_images, lone_points = pair_with_pts(files_of(place))
            _check_all_annotated(lone_images)
            self.lone_points += lone_points
            self.folder_counts[folder] = len(pairs)
            images += [image.relative_to(root).as_posix() for image, _ in pairs]
            points += [annotation for _, annotation in pairs]
            folder_of += len(pairs) * [folder]
        if not images:
            raise InputFileError(
                f"Expected images of split '{split}' in {_listed(self.folder_counts)} under '{root}' "
                f"(got none). {_what_is_there(root)} {self.layout}"
            )
        pos = torch.stack([read_pts(path, scheme.num_landmarks) for path in points])
        self.point_offset = protocol.point_offset
        subsets = {}
        for name, folders in self._subset_folders().items():
            subsets[name] = torch.tensor([folder in folders for folder in folder_of])
        super().__init__(
            root,
            images,
            pos + self.point_offset,
            scheme,
            transform=transform,
            protocol=protocol,
            normalizer=normalizer,
            split=split,
            subsets=subsets,
        )

    @property
    def published_subset_sizes(self) -> dict[str, int]:
        return {
            name: sum(FOLDER_SIZES[folder] for folder in folders) for name, folders in self._subset_folders().items()
        }

    @property
    def expected_len(self) -> int | None:
        sizes = [FOLDER_SIZES.get(folder) for folder in self.folder_counts]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def _subset_folders(self) -> dict[str, tuple[str, ...]]:
        """The subsets of the published split that consists of these folders, whatever name was given."""
        whole = next((split for split in SUBSETS if set(SPLITS[split]) == set(self.folder_counts)), None)
        return {} if whole is None else SUBSETS[whole]

    def gaps(self) -> list[str]:
        missing = [folder for folder, count in self.folder_counts.items() if count is None]
        differing = [
            f"{folder} {count} of {FOLDER_SIZES[folder]}"
            for folder, count in self.folder_counts.items()
            if count is not None and folder in FOLDER_SIZES and count != FOLDER_SIZES[folder]
        ]
        gaps = [f"missing folders: {', '.join(missing)}"] if missing else []
        gaps += [f"incomplete folders: {', '.join(differing)}"] if differing else []
        if self.lone_points:
            first = self.lone_points[0].relative_to(self.root).as_posix()
            gaps.append(f".pts without image: {len(self.lone_points)}, such as '{first}'")
        return gaps + super().gaps()


def folders_of_split(root: Path, split: str) -> list[str]:
    """Folders of a split relative to ``root``, each once and in order; published ones need not exist.

    Raises:
        InputFileError: if the root or any other folder is missing or outside the root.
    """
    if not root.is_dir():
        raise InputFileError(
            f"Expected the folder of 300-W at '{root}' (there is none). It must hold "
            f"{_listed(FOLDER_SIZES)}. {IBUG300W.layout}"
        )
    folders: dict[str, None] = {}
    for part in split.split(","):
        name = part.strip().rstrip("/")
        known = name in SPLITS or name in FOLDER_SIZES
        folder = Path(name).as_posix()
        is_relative = bool(name) and not Path(name).is_absolute()
        if not known and not (is_relative and path_below(root, name, "a folder of 300-W").is_dir()):
            raise InputFileError(
                f"Expected 'split' to be one of {', '.join(SPLITS)}, or a folder relative to '{root}', or several "
                f"joined by commas (got '{name}'). {_what_is_there(root)}"
            )
        folders.update(dict.fromkeys(SPLITS.get(name, (folder,))))
    return list(folders)


def place_under(root: Path, folder: str) -> str:
    """The place of a folder of a split: the official one, or for the private test set a common other one."""
    if folder not in SPLITS["private"] or (root / folder).is_dir():
        return folder
    name = folder.rpartition("/")[2]
    places = (prefix + name for prefix in _PRIVATE_PREFIXES)
    return next((place for place in places if (root / place).is_dir()), folder)


def _check_all_annotated(images: list[Path]) -> None:
    if images:
        named = ", ".join(f"'{path}'" for path in images[:3])
        more = f" and {len(images) - 3} more" if len(images) > 3 else ""
        raise InputFileError(
            f"Expected a .pts file next to every image (got none for {named}{more}). "
            "Add the annotation or remove the image."
        )


def _what_is_there(root: Path) -> str:
    """The folders below ``root`` that hold annotated faces, for an error message."""
    points = (path for path in list_images(root, recursive=True).others if path.suffix.lower() == ".pts")
    folders = list(dict.fromkeys(path.parent.relative_to(root).as_posix() for path in points))
    if not folders:
        return f"No folder under it holds .pts files; 300-W unpacks to {_listed(FOLDER_SIZES)}."
    more = f" and {len(folders) - 10} more" if len(folders) > 10 else ""
    return f"Folders with .pts files there: {_listed(sorted(folders)[:10])}{more}."


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
