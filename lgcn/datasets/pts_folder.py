"""Folders of images with a ``.pts`` file next to each, such as your own annotations."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch_geometric.data import Data

from lgcn.checks import InputFileError
from lgcn.datasets.base import LandmarkDataset
from lgcn.datasets.parsing import path_below, scheme_of
from lgcn.datasets.pts import files_of, pair_with_pts, read_pts
from lgcn.protocols import EvaluationProtocol, get_protocol
from lgcn.schemes import LandmarkScheme

NO_POINTS = "images without .pts"
NO_IMAGE = ".pts without image"
"""Keys of :attr:`~lgcn.datasets.LandmarkDataset.skipped` for files that are left out."""


class PtsFolder(LandmarkDataset):
    """Images with ``NAME.pts`` next to ``NAME.jpg``, in a folder and all folders below it.

    An image is any file that Pillow opens. A point written as ``nan nan`` is a landmark that was not
    annotated. Images without a ``.pts``, and the reverse, are left out and counted. Links to folders
    are followed, each folder is read once; hidden files and folders (``.name``) are left out.
    :class:`~lgcn.datasets.IBUG300W` reads the same files with the splits of 300-W.

    Args:
        root: the folder.
        split: ``"all"``, or a folder relative to ``root``; several are joined by commas.
        transform: from ``Data`` to ``Data``, applied on access.
        protocol: evaluation protocol or its name; its ``point_offset`` is added to 1-based points.
        normalizer: one of the scheme's. Default: the protocol's, else the scheme's.
        scheme: landmark scheme or its name. Default: the only registered one with the files' number of landmarks.
        one_based: whether the first pixel is (1, 1), as in the files of iBUG and menpo.

    Raises:
        InputFileError: if a folder is missing, may not be listed or holds no annotated image, or a
            file cannot be read.
    """

    splits = {"all": None}
    layout = "Each image NAME.jpg (or .png, .bmp, .tif, ...) needs its NAME.pts next to it."

    def __init__(
        self,
        root: str | Path,
        split: str = "all",
        transform: Callable[[Data], Data] | None = None,
        protocol: str | EvaluationProtocol = "zero_based",
        normalizer: str | None = None,
        *,
        scheme: str | LandmarkScheme | None = None,
        one_based: bool = True,
    ) -> None:
        root, protocol = Path(root).expanduser(), get_protocol(protocol)
        pairs, images, points = pair_with_pts(pts_files(root, split))
        if not pairs:
            raise InputFileError(
                f"Expected annotated images in '{root}', split '{split}' (got {len(images)} images and {len(points)} "
                f".pts files, none with the same name). {self.layout}"
            )
        first = read_pts(pairs[0][1], allow_missing=True)
        scheme = scheme_of(scheme, len(first), f"'{pairs[0][1]}'")
        pos = torch.stack([read_pts(points, scheme.num_landmarks, allow_missing=True) for _, points in pairs])
        self.point_offset = protocol.point_offset if one_based else 0.0
        super().__init__(
            root,
            [image.relative_to(root).as_posix() for image, _ in pairs],
            pos + self.point_offset,
            scheme,
            transform=transform,
            protocol=protocol,
            normalizer=normalizer,
            split=split,
        )
        self.lone_files = {NO_POINTS: images, NO_IMAGE: points}
        """Reason -> files that are left out because they have no partner."""
        self.skipped |= {reason: len(files) for reason, files in self.lone_files.items() if files}

    def gaps(self) -> list[str]:
        lone = [
            f"{reason}: {len(files)}, such as '{files[0].relative_to(self.root).as_posix()}'"
            for reason, files in self.lone_files.items()
            if files
        ]
        return lone + super().gaps()


def pts_files(root: Path, split: str) -> list[Path]:
    """The files of a split of :class:`PtsFolder`, each once.

    Raises:
        InputFileError: if a folder is missing, outside ``root``, or may not be listed.
    """
    files: dict[Path, None] = {}
    for part in map(str.strip, split.split(",")):
        is_relative = bool(part) and not Path(part).is_absolute()
        top = path_below(root, "" if part == "all" else part, "a folder of images") if is_relative else root / part
        if not is_relative or not top.is_dir():
            raise InputFileError(
                f"Expected a folder of images at '{top}' (there is none). Name folders relative to the root, "
                f"or 'all'. {PtsFolder.layout}"
            )
        files.update(dict.fromkeys(files_of(top, recursive=True)))
    return list(files)
