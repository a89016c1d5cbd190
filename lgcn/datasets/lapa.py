"""LaPa (Liu et al. 2020): 106 landmarks, beside the masks of face parsing, which are not read."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch_geometric.data import Data

from lgcn.checks import InputFileError, check_choice
from lgcn.datasets.base import LandmarkDataset
from lgcn.datasets.reading import read_text, to_numbers, to_points
from lgcn.protocols import EvaluationProtocol
from lgcn.schemes import get_scheme


class LaPa(LandmarkDataset):
    """LaPa from `"A New Dataset and Boundary-Attention Semantic Segmentation for Face Parsing"
    <https://github.com/JDAI-CV/lapa-dataset>`_, read in its official layout.

    ``landmarks/NAME.txt`` holds the number of points and then one ``x y`` a line, for the picture
    ``images/NAME.jpg``. Points are taken as they stand (0-based; the publication names no origin).

    Args:
        root: folder that holds ``LaPa``, or that folder itself.
        split: ``"train"``, ``"val"`` or ``"test"``.
        transform: from ``Data`` to ``Data``, applied on access.
        protocol: name of an evaluation protocol, or one.
        normalizer: ``"inter_ocular"``, ``"inter_pupil"`` or ``"box"``; the protocol's, else inter-ocular, if None.

    Raises:
        InputError: for an unknown split or normaliser.
        InputFileError: if a folder is missing or empty, or a file of points is damaged.
    """  # noqa: D205

    # The publication says "more than 22,000 faces"; reports of the training part differ (18,168 and 18,176).
    splits = {"train": None, "val": 2000, "test": 2000}
    layout = (
        "LaPa unpacks to LaPa/train, LaPa/val and LaPa/test, each with images/NAME.jpg and landmarks/NAME.txt; "
        "get LaPa.tar.gz from https://github.com/JDAI-CV/lapa-dataset."
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
        prefix = "LaPa/" if (root / "LaPa").is_dir() else ""
        folder = root / f"{prefix}{split}"
        for part in ("landmarks", "images"):
            if not (folder / part).is_dir():
                raise InputFileError(f"Expected LaPa's folder '{folder / part}' (there is none). {self.layout}")
        files = sorted(
            path
            for path in (folder / "landmarks").iterdir()
            if path.suffix.lower() == ".txt" and not path.name.startswith(".")
        )
        if not files:
            raise InputFileError(f"Expected files of points in '{folder / 'landmarks'}' (got none). {self.layout}")
        scheme = get_scheme("lapa106")
        values = np.stack([_read_points(path, scheme.num_landmarks) for path in files])
        pos, visibility = to_points(values, lambda index: f"'{files[index]}'")
        super().__init__(
            root,
            [f"{prefix}{split}/images/{path.stem}.jpg" for path in files],
            pos,
            scheme,
            visibility=visibility,
            transform=transform,
            protocol=protocol,
            normalizer=normalizer,
            split=split,
        )


def _read_points(path: Path, num_landmarks: int) -> np.ndarray:
    """Points [K, 2] of one file, as they stand in it."""
    rows = [line.split() for line in read_text(path, "a file of points").split("\n") if line.strip()]
    count, *points = rows or [[]]
    if count != [str(num_landmarks)] or len(points) != num_landmarks or any(len(point) != 2 for point in points):
        wrong = next((row for row in points if len(row) != 2), None)
        got = f"{len(points)} after '{' '.join(count)[:20]}'" if wrong is None else f"'{' '.join(wrong)[:40]}'"
        raise InputFileError(
            f"Expected '{num_landmarks}' and then {num_landmarks} lines 'x y' in '{path}' (got {ascii(got)[1:-1]}). "
            "Restore the file from the archive."
        )
    return to_numbers(points, lambda index: f"point {index} of '{path}'")
