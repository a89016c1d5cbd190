"""CSV files in the layout of the public HRNet code for faces: AFLW-19, 300-W, WFLW and others."""

import csv
import io
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch_geometric.data import Data

from lgcn.checks import InputFileError
from lgcn.datasets.base import LandmarkDataset
from lgcn.datasets.parsing import (
    image_path,
    is_file,
    likewise,
    path_below,
    read_text,
    scheme_of,
    to_boxes,
    to_numbers,
    to_points,
)
from lgcn.images import list_images
from lgcn.protocols import EvaluationProtocol, get_protocol
from lgcn.schemes import LandmarkScheme

PUBLISHED = {
    "300w_train": 3148,
    "300w_valid": 689,
    "300w_valid_common": 554,
    "300w_valid_challenge": 135,
    "300w_test": 600,
    "wflw_train": 7500,
    "wflw_test": 2500,
    "wflw_test_largepose": 326,
    "wflw_test_expression": 314,
    "wflw_test_illumination": 698,
    "wflw_test_makeup": 206,
    "wflw_test_occlusion": 736,
    "wflw_test_blur": 773,
    "aflw_train": 20000,
    "aflw_test": 4386,
}
"""File name without ``face_landmarks_`` and ``.csv`` -> published number of rows."""

SUBSET_NAMES = {
    "common": "common",
    "challenge": "challenging",
    "frontal": "frontal",
    "largepose": "pose",
    "expression": "expression",
    "illumination": "illumination",
    "makeup": "make-up",
    "occlusion": "occlusion",
    "blur": "blur",
}
"""Ending of the name of a subset's file -> name of the subset, in the order of published tables."""

ONE_BASED = ("ibug68", "cofw29")
"""Schemes whose csv files keep the 1-based points of ``.pts`` and MATLAB files."""

USUAL_SCHEMES = ("aflw19", "cofw29", "ibug68", "wflw98")
"""Schemes of the csv files that HRNet's authors published."""

_COORDINATE = re.compile(
    r"(?:\D*_)?(?:(?P<number>\d{1,4})_?(?P<axis>[xy])|(?P<first>[xy])_?(?P<other>\d{1,4}))", re.ASCII
)
"""Name of a column such as ``original_12_x``, ``12_x``, ``x12`` or ``landmark_x_12``."""


class HRNetCSV(LandmarkDataset):
    """Images and a csv file in the layout of `HRNet-Facial-Landmark-Detection
    <https://github.com/HRNet/HRNet-Facial-Landmark-Detection>`_.

    The columns are image_name, scale, (AFLW only: box_size,) center_w, center_h, then x and y of each
    landmark, in this order; the first row names them. An empty cell is a missing landmark. Scale and
    centre are those of the tight landmark box, which is computed again from the landmarks.

    With box_size there is a normaliser of that name, the default, and ``rect``, the square of side
    200 * scale around the centre. Files ``<this file>_<subset>.csv`` next to the file hold the rows of
    a subset; they become :attr:`subsets`.

    Args:
        root: folder with the csv files, directly or in ``annotations``, and the images, directly or in ``images``.
        split: ``"train"`` for the only file ``*_train.csv``, ``"test"``, ``"valid"`` and so on; or a
            file ending in .csv, relative to ``root``.
        transform: from ``Data`` to ``Data``, applied on access.
        protocol: evaluation protocol or its name; its ``point_offset`` is added to 1-based points.
        normalizer: one of the scheme's, or ``"box_size"``. Default: the protocol's, else as above.
        scheme: landmark scheme or its name. Default: the only registered one with the file's number of landmarks.
        one_based: whether the file's first pixel is (1, 1). Default: whether the scheme is in :data:`ONE_BASED`.

    Raises:
        InputFileError: if the file is missing or several match, its columns are in another order, or a row is damaged.
    """  # noqa: D205

    layout = (
        "The layout of HRNet-Facial-Landmark-Detection is face_landmarks_<dataset>_<split>.csv next to a "
        "folder 'images'; its README (https://github.com/HRNet/HRNet-Facial-Landmark-Detection) links the "
        "csv files, the images come from each dataset's own site."
    )
    missing_remedy = "leave their cells empty"

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        transform: Callable[[Data], Data] | None = None,
        protocol: str | EvaluationProtocol = "zero_based",
        normalizer: str | None = None,
        *,
        scheme: str | LandmarkScheme | None = None,
        one_based: bool | None = None,
    ) -> None:
        root, protocol = Path(root).expanduser(), get_protocol(protocol)
        path = _find_csv(root, split, self.layout)
        self.csv_name = path.name
        header, rows, lines = _read_rows(path)
        columns = len(header)
        has_box = columns % 2 == 1
        first = 5 if has_box else 4
        _check_header(header, first, path)

        def where(index: int) -> str:
            return f"line {lines[index]} of '{path}'"

        scheme = scheme_of(scheme, (columns - first) // 2, f"the {columns} columns of '{path}'", USUAL_SCHEMES)
        folder = "images" if (root / "images").is_dir() else ""
        image_ids = [image_path(row[0], where(index), root=root, folder=folder) for index, row in enumerate(rows)]
        numbers = to_numbers([row[1:] for row in rows], where)
        pos, visibility = to_points(numbers[:, first - 1 :].reshape(len(rows), -1, 2), where)
        one_based = scheme.name in ONE_BASED if one_based is None else one_based
        self.point_offset = protocol.point_offset if one_based else 0.0
        distances, rect = {}, None
        if has_box:
            with np.errstate(over="ignore", invalid="ignore"):
                side = 200 * numbers[:, :1]
                corner = numbers[:, 2:4] + self.point_offset - side / 2
            rect = to_boxes(corner, side, where)
            distances = {"box_size": torch.from_numpy(numbers[:, 1])}
            normalizer = normalizer or protocol.normalizer_of(scheme.name) or "box_size"
        subsets, self._unknown_rows = _read_subsets(path, rows)
        super().__init__(
            root,
            image_ids,
            pos + self.point_offset,
            scheme,
            visibility=visibility,
            transform=transform,
            protocol=protocol,
            normalizer=normalizer,
            split=split,
            subsets=subsets,
            rect=rect,
            distances=distances,
        )

    def gaps(self) -> list[str]:
        gaps = [f"rows of subset '{name}' that are not in the split: {n}" for name, n in self._unknown_rows.items()]
        return gaps + super().gaps()

    @property
    def expected_len(self) -> int | None:
        return PUBLISHED.get(_short_name(self.csv_name))

    @property
    def published_subset_sizes(self) -> dict[str, int]:
        own = _short_name(self.csv_name)
        sizes = {name: PUBLISHED.get(f"{own}_{ending}") for ending, name in SUBSET_NAMES.items()}
        return {name: size for name, size in sizes.items() if size is not None}


class AFLW19(HRNetCSV):
    """AFLW with 19 landmarks (Zhu et al. 2016), in the layout of :class:`HRNetCSV`.

    All 19 landmarks are annotated, occluded ones by estimate. Errors are divided by ``"box_size"``, the
    size of the face's box in the csv file, because the eye corners of a profile are too close.

    Args:
        root: folder that holds ``face_landmarks_aflw_train.csv``, ``face_landmarks_aflw_test.csv``,
            ``face_landmarks_aflw_test_frontal.csv`` (a subset of the test set) and ``images``.
        split: ``"train"`` (20000 faces) or ``"test"`` (4386).
        transform: from ``Data`` to ``Data``, applied on access.
        protocol: evaluation protocol or its name.
        normalizer: ``"box_size"``, or one of the scheme's. Default: the protocol's, else ``"box_size"``.

    Raises:
        InputFileError: if the file is missing or a row is damaged.
    """

    splits = {"train": 20000, "test": 4386}
    layout = (
        "AFLW-19 needs face_landmarks_aflw_train.csv, face_landmarks_aflw_test.csv and _test_frontal.csv (linked by "
        "https://github.com/HRNet/HRNet-Facial-Landmark-Detection) next to images/flickr/<0, 2, 3>/<image>.jpg "
        "(AFLW's own archives, on request from https://www.tugraz.at/institute/icg, team Bischof)."
    )

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        transform: Callable[[Data], Data] | None = None,
        protocol: str | EvaluationProtocol = "zero_based",
        normalizer: str | None = None,
    ) -> None:
        super().__init__(root, split, transform, protocol, normalizer, scheme="aflw19", one_based=False)


def _find_csv(root: Path, split: str, layout: str) -> Path:
    if not root.is_dir():
        raise InputFileError(f"Expected a folder at '{root}' (there is none). {layout}")
    folders = (root, root / "annotations")
    files = [
        path
        for folder in folders
        if folder.is_dir()
        for path in list_images(folder).others
        if path.suffix.lower() == ".csv"
    ]
    if split.endswith(".csv"):
        found = [path for path in (path_below(root, split, "a csv file"),) if is_file(path)]
    else:
        found = [path for path in files if path.stem.endswith(f"_{split}")]
    if len(found) != 1:
        there = [path.name for path in files] or ["none"]
        raise InputFileError(
            f"Expected one csv file for split '{split}' under '{root}' (got {len(found) or 'none'}; there are: "
            f"{', '.join(there[:12])}). Name the file itself as the split. {layout}"
        )
    return found[0]


def _read_rows(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """The header, the rows, and the number of the line on which each row ends."""
    reader = csv.reader(io.StringIO(read_text(path, "a csv file"), newline=""))
    rows, lines = [], []
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise InputFileError(
            f"Expected a csv file in '{path}' (line {reader.line_num}: {error}). Restore it from its archive."
        ) from None
    if len(rows) < 2 or _is_number(rows[0][-1]):
        raise InputFileError(
            f"Expected a first row of names and rows of faces below it in '{path}' (got {len(rows)} rows, the first "
            f"{ascii(','.join(rows[0]) if rows else '')[:60]}). The names are image_name,scale,center_w,center_h,..."
        )
    uneven = [index for index, row in enumerate(rows) if len(row) != len(rows[0])]
    if uneven or len(rows[0]) < 6:
        index = uneven[0] if uneven else 0
        raise InputFileError(
            f"Expected {max(len(rows[0]), 6)} columns in line {lines[index]} of '{path}' (got {len(rows[index])}): "
            "image_name, scale, center_w, center_h, then x and y of each landmark."
            f"{likewise(uneven, lambda row: f'line {lines[row]}')}"
        )
    return rows[0], rows[1:], lines[1:]


def _check_header(header: list[str], first: int, path: Path) -> None:
    """Raise :class:`InputFileError` if named columns are in another order; other names are not judged.

    Args:
        header: names of the columns.
        first: number of columns before the landmarks.
        path: the file, for the message.
    """
    names = [name.strip().lower() for name in header]
    expected = [*("image_name", "scale"), *(["box_size"] if first == 5 else []), *("center_w", "center_h")]
    for column, name in enumerate(expected):
        if names[column] != name and (name in names or names[column] in expected):
            raise InputFileError(
                f"Expected column {column} of '{path}' to be '{name}' (got '{header[column][:40]}'). "
                f"The columns are {', '.join(expected)}, then x and y of each landmark."
            )
    axes = [_COORDINATE.fullmatch(name) for name in names[first:]]
    if not all(axes):
        return
    found = [(int(axis["number"] or axis["other"]), axis["axis"] or axis["first"]) for axis in axes if axis]
    start = found[0][0]
    for column, (number, axis) in enumerate(found):
        if (number, axis) != (start + column // 2, "xy"[column % 2]):
            raise InputFileError(
                f"Expected the columns of landmarks in '{path}' in the order x, y of the first, x, y of the second ... "
                f"(got '{header[first + column][:40]}' as column {first + column}). Reorder the columns."
            )


def _read_subsets(path: Path, rows: list[list[str]]) -> tuple[dict[str, torch.Tensor], dict[str, int]]:
    """Masks over ``rows`` of the files called as ``path`` plus the name of a subset, by subset.

    Second, the number of rows of such a file that ``rows`` does not have, if any.
    """
    masks, unknown = {}, {}
    own = [_key(row) for row in rows]
    for ending, name in SUBSET_NAMES.items():
        subset = path.with_name(f"{path.stem}_{ending}.csv")
        if subset.is_file():
            chosen = set(map(_key, _read_rows(subset)[1]))
            masks[name] = torch.tensor([key in chosen for key in own])
            unknown[name] = len(chosen.difference(own))
    return masks, {name: count for name, count in unknown.items() if count}


def _key(row: Iterable[str]) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in row)


def _short_name(csv_name: str) -> str:
    return csv_name.removeprefix("face_landmarks_").removesuffix(".csv")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
