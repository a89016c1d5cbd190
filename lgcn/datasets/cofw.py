"""COFW (Burgos-Artizzu et al. 2013): 29 landmarks, each with whether it is covered; pictures in a MATLAB file."""

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
from lgcn.datasets.reading import to_boxes, to_points
from lgcn.protocols import EvaluationProtocol, get_protocol
from lgcn.schemes import get_scheme

FILES = {"train": "COFW_train_color.mat", "test": "COFW_test_color.mat"}
_PLACES = ("", "COFW_color", "common/xpburgos/behavior/code/pose")
_ENDINGS = {"train": "Tr", "test": "T"}
_MAX_FACES, _MAX_SIDE = 10**6, 20_000


class COFW(LandmarkDataset):
    """Caltech Occluded Faces in the Wild from `"Robust Face Landmark Estimation under Occlusion"
    <https://data.caltech.edu/records/bc0bf-nc666>`_, the files in colour.

    The files are HDF5 (MATLAB 7.3) and hold the pictures as well; reading them takes the package
    h5py. A covered landmark has a position like any other, so its ``visibility`` is 1; ``occlusion``
    [N, 29] says that it is covered. ``rect`` is the file's own box of the face. Points are taken for
    1-based, as MATLAB draws them (the publication does not say).

    Args:
        root: folder that holds ``COFW_train_color.mat`` and ``COFW_test_color.mat``.
        split: ``"train"`` (1345 faces) or ``"test"`` (507).
        transform: from ``Data`` to ``Data``, applied on access.
        protocol: name of an evaluation protocol, or one; its ``point_offset`` is added to the points.
        normalizer: ``"inter_ocular"``, ``"inter_pupil"`` or ``"box"``; the protocol's, else inter-ocular, if None.

    Raises:
        InputError: for an unknown split or normaliser, or if h5py is not installed.
        InputFileError: if the file is missing, damaged, or not laid out as COFW's.
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
                raise ValueError(f"{len(rows)} rows of points and pictures {count}")
            boxes = _matrix(file, f"bboxes{ending}", 4).T if f"bboxes{ending}" in file else None

        def where(index: int) -> str:
            return f"face {index} of '{self.path}'"

        pos, visibility = to_points(np.stack([rows[:, :29], rows[:, 29:58]], axis=-1), where)
        covered = rows[:, 58:]
        unclear = ((covered != 0) & (covered != 1)).any(axis=1)
        if unclear.any():
            raise InputFileError(
                f"Expected flags 0 or 1 for covered landmarks in {where(int(unclear.argmax()))} (got another number). "
                f"{self.layout}"
            )
        rect = None
        if boxes is not None and len(boxes) == len(rows):
            rect = to_boxes(boxes[:, :2], boxes[:, 2:], where) + protocol.point_offset
        relative = self.path.relative_to(root).as_posix()
        super().__init__(
            root,
            [f"{relative}#{index}" for index in range(len(rows))],
            pos + protocol.point_offset,
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
        """None: the pictures are in the file that the annotations were read from."""
        return []

    def read_image(self, idx: int) -> Tensor:
        number = int(self.kept[idx])
        # Opened for each picture, which takes a millisecond: an open HDF5 file survives no fork of a loader.
        with _opened(self.path, f", picture {number}") as file:
            references = file[self._images_key]
            picture = file[references[()].reshape(-1)[number]]
            sides = picture.shape[-2:]
            fits = len(sides) == 2 and min(sides) > 0 and max(sides) <= _MAX_SIDE
            if not fits or picture.dtype != np.uint8 or picture.shape[:-2] not in ((), (1,), (3,)):
                raise ValueError(f"an array {picture.shape} of {picture.dtype}, not a picture")
            # MATLAB's [H, W, 3], column by column, is HDF5's [3, W, H].
            pixels = torch.from_numpy(np.array(picture)).transpose(-1, -2)
        return pixels.expand(3, -1, -1).contiguous()


@contextmanager
def _opened(path: Path, what: str = "") -> Iterator[Any]:
    """An HDF5 file for reading; whatever it does wrong becomes an error that names it."""
    h5py = _import_h5py()
    try:
        with h5py.File(path, "r") as file:
            yield file
    except InputError:
        raise
    except Exception as error:  # h5py raises nearly anything on damaged files
        reason = " ".join(str(error).split())[:120]
        raise InputFileError(
            f"Expected '{path}'{what} to be laid out as COFW's colour files are (got: {reason}). {COFW.layout}"
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
