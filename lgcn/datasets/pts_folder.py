"""Any folder of pictures with a ``.pts`` file beside each, such as one annotated by oneself."""

import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch_geometric.data import Data

from lgcn.checks import InputFileError
from lgcn.datasets.base import LandmarkDataset
from lgcn.datasets.pts import annotated_images, is_image, read_pts
from lgcn.datasets.reading import scheme_of
from lgcn.protocols import EvaluationProtocol, get_protocol
from lgcn.schemes import LandmarkScheme

WITHOUT_POINTS = "pictures without .pts"
"""Why a picture is left out, as a key of :attr:`~lgcn.datasets.LandmarkDataset.skipped`."""


class PtsFolder(LandmarkDataset):
    """Pictures with ``NAME.pts`` beside ``NAME.jpg``, in a folder and all folders below it.

    A point that is written as ``nan nan`` is a landmark that was not annotated. Pictures without a
    ``.pts`` are left out and counted. :class:`~lgcn.datasets.IBUG300W` is this with the splits of 300-W.

    Args:
        root: the folder.
        split: ``"all"``, or a folder relative to ``root``; several are joined by commas.
        transform: from ``Data`` to ``Data``, applied on access.
        protocol: name of an evaluation protocol, or one; its ``point_offset`` is added to 1-based points.
        normalizer: one of the scheme's; the protocol's, else the scheme's own, if None.
        scheme: of the landmarks; if None the only known one with as many landmarks as the files have.
        one_based: whether the first pixel is (1, 1), as in the files of iBUG and menpo.

    Raises:
        InputFileError: if a folder is missing, holds no annotated picture, or a file cannot be read.
    """

    splits = {"all": None}
    layout = "Each picture NAME.jpg (or .png, .bmp, .tif, .webp) needs its NAME.pts beside it."

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
        files: dict[Path, None] = {}
        for part in split.split(","):
            folder = root if part.strip() == "all" else root / part.strip()
            if Path(part.strip()).is_absolute() or not part.strip() or not folder.is_dir():
                raise InputFileError(
                    f"Expected a folder of pictures at '{folder}' (there is none). Name folders relative to the root, "
                    f"or 'all'. {self.layout}"
                )
            below = (Path(place) / name for place, _, names in os.walk(folder) for name in names)
            files.update(dict.fromkeys(sorted(below)))
        pairs = annotated_images(root, files, skip_alone=True)
        if not pairs:
            raise InputFileError(f"Expected annotated pictures in '{root}', split '{split}' (got none). {self.layout}")
        first = read_pts(pairs[0][1], allow_missing=True)
        scheme = scheme_of(scheme, len(first), f"'{pairs[0][1]}'")
        pos = torch.stack([read_pts(points, scheme.num_landmarks, allow_missing=True) for _, points in pairs])
        visibility = pos.isfinite().all(dim=-1)
        if one_based:
            pos = pos + protocol.point_offset
        super().__init__(
            root,
            [picture for picture, _ in pairs],
            pos,
            scheme,
            visibility=visibility,
            transform=transform,
            protocol=protocol,
            normalizer=normalizer,
            split=split,
        )
        alone = sum(is_image(path) for path in files) - len(pairs)
        if alone:
            self.skipped[WITHOUT_POINTS] = alone

    def gaps(self) -> list[str]:
        alone = self.skipped.get(WITHOUT_POINTS)
        return ([f"{WITHOUT_POINTS}: {alone}"] if alone else []) + super().gaps()
