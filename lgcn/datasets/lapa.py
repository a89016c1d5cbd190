"""LaPa (Liu et al. 2020): 106 landmarks. The masks for face parsing are not read."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch_geometric.data import Data

from lgcn.checks import InputFileError, check_choice
from lgcn.datasets.base import LandmarkDataset
from lgcn.datasets.parsing import read_text, to_numbers, to_points
from lgcn.images import list_images
from lgcn.protocols import EvaluationProtocol
from lgcn.schemes import get_scheme


class LaPa(LandmarkDataset):
    """LaPa from `"A New Dataset and Boundary-Attention Semantic Segmentation for Face Parsing"
    <https://github.com/JDAI-CV/lapa-dataset>`_, read in its official layout.

    ``landmarks/NAME.txt`` holds the number of points and then one ``x y`` per line, for the image
    ``images/NAME.jpg``. Points are read unchanged (0-based; the publication names no origin).
    Images without points are skipped and counted.

    Args:
        root: folder that holds ``LaPa``, or that folder itself.
        split: ``"train"``, ``"val"`` or ``"test"``.
        transform: from ``Data`` to ``Data``, applied on access.
        protocol: evaluation protocol or its name.
        normalizer: ``"inter_ocular"``, ``"inter_pupil"`` or ``"box"``. Default: the protocol's, else inter-ocular.

    Raises:
        InputError: for an unknown split or normaliser.
        InputFileError: if a folder is missing, empty or may not be listed, or a file of points is damaged.
    """  # noqa: D205

    # The publication says "more than 22,000 faces"; reported sizes of the training set differ (18,168 and 18,176).
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
        files = [path for path in list_images(folder / "landmarks").others if path.suffix.lower() == ".txt"]
        if not files:
            raise InputFileError(f"Expected files of points in '{folder / 'landmarks'}' (got none). {self.layout}")
        _check_unique(files)
        images = list_images(folder / "images").images
        _check_unique(images)
        names = {path.stem: path.name for path in images}
        scheme = get_scheme("lapa106")
        values = np.stack([_read_points(path, scheme.num_landmarks) for path in files])
        pos, visibility = to_points(values, lambda index: f"'{files[index]}'")
        super().__init__(
            root,
            [f"{prefix}{split}/images/{names.get(path.stem, f'{path.stem}.jpg')}" for path in files],
            pos,
            scheme,
            visibility=visibility,
            transform=transform,
            protocol=protocol,
            normalizer=normalizer,
            split=split,
        )
        without_points = len(names.keys() - {path.stem for path in files})
        if without_points:
            self.skipped["images without points"] = without_points


def _check_unique(files: list[Path]) -> None:
    """Raise :class:`InputFileError` if two files have the same name but for the suffix."""
    first: dict[str, Path] = {}
    for path in files:
        if first.setdefault(path.stem, path) != path:
            raise InputFileError(
                f"Expected one file '{path.stem}' in '{path.parent}' (got '{first[path.stem].name}' and "
                f"'{path.name}'). Remove or rename one of them."
            )


def _read_points(path: Path, num_landmarks: int) -> np.ndarray:
    """The points [K, 2] of one file, unchanged."""
    rows = [line.split() for line in read_text(path, "a file of points").split("\n") if line.strip()]
    count, *points = rows or [[]]
    if count != [str(num_landmarks)] or len(points) != num_landmarks or any(len(point) != 2 for point in points):
        wrong = next((row for row in points if len(row) != 2), None)
        got = f"{len(points)} after '{' '.join(count)[:20]}'" if wrong is None else f"'{' '.join(wrong)[:60]}'"
        raise InputFileError(
            f"Expected '{num_landmarks}' and then {num_landmarks} lines 'x y' in '{path}' (got {got}). "
            "Restore the file from the archive."
        )
    return to_numbers(points, lambda index: f"point {index} of '{path}'")
