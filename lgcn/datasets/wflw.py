"""WFLW (Wu et al. 2018, "Look at Boundary"): 98 landmarks, six attributes."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch_geometric.data import Data

from lgcn.checks import InputFileError, check_choice
from lgcn.datasets.base import LandmarkDataset
from lgcn.datasets.parsing import image_path, likewise, read_text, to_numbers, to_points
from lgcn.protocols import EvaluationProtocol
from lgcn.schemes import get_scheme

IMAGE_FOLDER = "WFLW_images"
LISTS = "WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_{split}.txt"

ATTRIBUTES = ("pose", "expression", "illumination", "make-up", "occlusion", "blur")
"""The six flags of a row, in the order of the file and of published tables."""

_NUM_NUMBERS = 2 * 98 + 4 + len(ATTRIBUTES)


class WFLW(LandmarkDataset):
    r"""Wider Facial Landmarks in-the-Wild from `"Look at Boundary: A Boundary-Aware Face Alignment Algorithm"
    <https://wywu.github.io/projects/LAB/WFLW.html>`_, read in its official layout.

    A row of a list has 207 fields: 98 points x y, the rectangle of a face detector, six flags and the
    name of the image. Several faces may share an image. Points are read unchanged: the publication
    names no origin, and public code takes them as 0-based.

    The six attributes are :attr:`subsets`; the rectangles are ``rect`` (x0, y0, x1, y1).

    Args:
        root: folder that holds ``WFLW_images`` and ``WFLW_annotations``.
        split: ``"train"`` (7500 faces) or ``"test"`` (2500).
        transform: from ``Data`` to ``Data``, applied on access.
        protocol: evaluation protocol or its name.
        normalizer: ``"inter_ocular"``, ``"inter_pupil"`` or ``"box"``. Default: the protocol's, else inter-ocular.

    Raises:
        InputError: for an unknown split or normaliser.
        InputFileError: if the root, the list or the folder of images is missing, or a row is damaged.
    """  # noqa: D205

    splits = {"train": 7500, "test": 2500}
    layout = (
        "WFLW unpacks to WFLW_images/<event>/<image>.jpg (WFLW_images.tar.gz) and "
        f"{LISTS.format(split='train')} with its _test.txt (WFLW_annotations.tar.gz), both in one folder; "
        "get the archives from https://wywu.github.io/projects/LAB/WFLW.html."
    )

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        transform: Callable[[Data], Data] | None = None,
        protocol: str | EvaluationProtocol = "zero_based",
        normalizer: str | None = None,
    ) -> None:
        check_choice("split", split, self.splits)
        root = Path(root).expanduser()
        path = root / LISTS.format(split=split)
        text = read_text(path, f"the list of WFLW's split '{split}'", self.layout)
        if not (root / IMAGE_FOLDER).is_dir():
            raise InputFileError(f"Expected the images of WFLW in '{root / IMAGE_FOLDER}' (no folder). {self.layout}")
        lines = [(number, line.split()) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
        if not lines:
            raise InputFileError(f"Expected rows in '{path}' (got none). {self.layout}")

        def where(index: int) -> str:
            return f"line {lines[index][0]} of '{path}'"

        uneven = [index for index, (_, fields) in enumerate(lines) if len(fields) != _NUM_NUMBERS + 1]
        if uneven:
            raise InputFileError(
                f"Expected {_NUM_NUMBERS + 1} fields in {where(uneven[0])} (got {len(lines[uneven[0]][1])}): 98 points "
                "x y, 4 of the rectangle, 6 flags and the name of the image. Restore the file from the archive."
                f"{likewise(uneven, where)}"
            )
        numbers = to_numbers([fields[:_NUM_NUMBERS] for _, fields in lines], where)
        pos, visibility = to_points(numbers[:, :196].reshape(-1, 98, 2), where)
        corners, _ = to_points(numbers[:, 196:200].reshape(-1, 2, 2), where)
        flags = torch.from_numpy(numbers[:, 200:])
        unclear = ((flags != 0) & (flags != 1)).any(dim=1)
        if unclear.any():
            rows = unclear.nonzero().flatten().tolist()
            raise InputFileError(
                f"Expected the flags {', '.join(ATTRIBUTES)} to be 0 or 1 in {where(rows[0])} "
                f"(got {flags[rows[0]].tolist()}). Restore the file from the archive.{likewise(rows, where)}"
            )
        image_ids = [
            image_path(fields[-1], where(index), root=root, folder=IMAGE_FOLDER)
            for index, (_, fields) in enumerate(lines)
        ]
        super().__init__(
            root,
            image_ids,
            pos,
            get_scheme("wflw98"),
            visibility=visibility,
            transform=transform,
            protocol=protocol,
            normalizer=normalizer,
            split=split,
            subsets={name: flags[:, column] == 1 for column, name in enumerate(ATTRIBUTES)},
            rect=corners.flatten(1),
        )

    @property
    def published_subset_sizes(self) -> dict[str, int]:
        if self.split != "test":
            return {}
        return dict(zip(ATTRIBUTES, (326, 314, 698, 206, 736, 773), strict=True))
