"""COFW (Burgos-Artizzu et al. 2013): 29 landmarks with occlusion flags; images in a MATLAB file."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from lgcn.checks import InputError, InputFileError, check_choice
from lgcn.datasets.base import LandmarkDataset
from lgcn.datasets.parsing import to_boxes, to_points
from lgcn.protocols import EvaluationProtocol, get_protocol
from lgcn.schemes import get_scheme

FILES = {"train": "COFW_train_color.mat", "test": "COFW_test_color.mat"}
_PLACES = ("", "COFW_color", "common/xpburgos/behavior/code/pose")
_ENDINGS = {"train": "Tr", "test": "T"}
_MAX_FACES, _MAX_PIXELS = 10**5, 5 * 10**7


class COFW(LandmarkDataset):
    """Caltech Occluded Faces in the Wild from `"Robust Face Landmark Estimation under Occlusion"
    <https://data.caltech.edu/records/bc0bf-nc666>`_, the colour version.

    The files are HDF5 (MATLAB 7.3) and also hold the images; reading them requires the package
    h5py. An occluded landmark is annotated, so its ``visibility`` is 1; ``occlusion`` [29] marks it as
    occluded. ``rect`` is the file's own box of the face. Points are taken as 1-based, as MATLAB
    draws them (the publication does not say).

    Args:
        root: folder that holds ``COFW_train_color.mat`` and ``COFW_test_color.mat``.
        split: ``"train"`` (1345 faces) or ``"test"`` (507).
        transform: from ``Data`` to ``Data``, applied on access.
        protocol: evaluation protocol or its name; its ``point_offset`` is added to the points.
        normalizer: ``"inter_ocular"``, ``"inter_pupil"`` or ``"box"``. Default: the protocol's, else inter-ocular.

    Raises:
        InputError: for an unknown split or normaliser, or if h5py is not installed.
        InputFileError: if the file is missing, damaged, or not in COFW's layout.
    """  # noqa: D205

    splits = {"train": 1345, "test": 507}
    layout = (
        "COFW needs COFW_train_color.mat and COFW_test_color.mat in one folder (COFW_color.zip of "
        "https://data.caltech.edu/records/bc0bf-nc666)."
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
        root, protocol = Path(root).expanduser(), get_protocol(protocol)
        places = [root / place / FILES[split] for place in _PLACES]
        self.path = next((path for path in places if path.is_file()), places[0])
        if not self.path.is_file():
            raise InputFileError(f"Expected a file at '{self.path}' (there is none). {self.layout}")
        ending = _ENDINGS[split]
        self._images_key = f"Is{ending}"
        with _opened(self.path) as file:
            rows = _matrix(file, f"phis{ending}", 87).T
            count = _shape(file, self._images_key)
            if count not in ((1, len(rows)), (len(rows), 1), (len(rows),)) or not len(rows):
                raise ValueError(f"{len(rows)} rows of points and images {count}")
            boxes = _matrix(file, f"bboxes{ending}", 4).T if f"bboxes{ending}" in file else None

        def where(index: int) -> str:
            return f"face {index} of '{self.path}'"

        pos, visibility = to_points(np.stack([rows[:, :29], rows[:, 29:58]], axis=-1), where)
        covered = rows[:, 58:]
        unclear = ((covered != 0) & (covered != 1)).any(axis=1)
        if unclear.any():
            raise InputFileError(
                f"Expected occlusion flags 0 or 1 in {where(int(unclear.argmax()))} (got another number). {self.layout}"
            )
        self.point_offset = protocol.point_offset
        rect = None
        if boxes is not None and len(boxes) == len(rows):
            rect = to_boxes(boxes[:, :2], boxes[:, 2:], where) + self.point_offset
        relative = self.path.relative_to(root).as_posix()
        super().__init__(
            root,
            [f"{relative}#{index}" for index in range(len(rows))],
            pos + self.point_offset,
            get_scheme("cofw29"),
            visibility=visibility,
            transform=transform,
            protocol=protocol,
            normalizer=normalizer,
            split=split,
            rect=rect,
            occlusion=torch.from_numpy(covered.astype(np.float32)),
        )

    def missing_images(self) -> list[str]:
        """Empty: the images are in the file with the annotations."""
        return []

    def read_image(self, idx: int) -> Tensor:
        number = int(self.kept[idx])
        # Opened for each image, which takes a millisecond: an open HDF5 file does not survive the fork of a loader.
        with _opened(self.path, f", image {number}") as file:
            references = file[self._images_key]
            image = file[references[()].reshape(-1)[number]]
            sides = image.shape[-2:]
            fits = len(sides) == 2 and 0 < sides[0] * sides[1] <= _MAX_PIXELS
            if not fits or image.dtype != np.uint8 or image.shape[:-2] not in ((), (1,), (3,)):
                raise ValueError(f"an array {image.shape} of {image.dtype}, not an image")
            # MATLAB's [H, W, 3], column by column, is HDF5's [3, W, H].
            pixels = torch.from_numpy(np.array(image)).transpose(-1, -2)
        return pixels.expand(3, -1, -1).contiguous()


@contextmanager
def _opened(path: Path, what: str = "") -> Iterator[Any]:
    """Open an HDF5 file for reading; any failure becomes an error that names it."""
    h5py = _import_h5py()
    try:
        with h5py.File(path, "r") as file:
            yield file
    except InputError:
        raise
    except Exception as error:  # h5py raises nearly anything on damaged files
        reason = " ".join(str(error).split())[:120]
        raise InputFileError(
            f"Expected '{path}'{what} to have the layout of COFW's colour files (got: {reason}). {COFW.layout}"
        ) from error


def _import_h5py() -> Any:
    try:
        return import_module("h5py")
    except ImportError:
        raise InputError(
            "Expected the package h5py, which reads COFW's files (it is not installed). "
            "Run: pip install 'lgcn[datasets]'"
        ) from None


def _shape(file: Any, key: str) -> tuple[int, ...]:
    if key not in file:
        raise ValueError(f"no '{key}'")
    return tuple(getattr(file[key], "shape", ()) or ())


def _matrix(file: Any, key: str, num_rows: int) -> np.ndarray:
    """The numbers under ``key``, float64 [num_rows, N]."""
    shape = _shape(file, key)
    if len(shape) != 2 or shape[0] != num_rows or shape[1] > _MAX_FACES or file[key].dtype.kind not in "fiu":
        raise ValueError(f"'{key}' {shape}, not numbers [{num_rows}, N]")
    return np.asarray(file[key], dtype=np.float64)
