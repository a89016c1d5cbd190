"""Search for faces with a cascade of local binary patterns, on an image pyramid, in NumPy."""

import os
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

_DENSE_STAGES = 3
"""Stages that are computed for all windows of a level; few pass, which are then looked up one by one."""
_NEIGHBOURS = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))
"""Row and column of the outer blocks in the order of the code's bits, the highest first."""

Ints = NDArray[np.int32]


class _Stage(NamedTuple):
    """Weak classifiers of which the sum of votes must reach a threshold."""

    blocks: NDArray[np.int64]
    """[n, 4], x, y, width and height of the upper left of 3 x 3 blocks in the window."""
    votes: NDArray[np.float32]
    """[n, 256], by the pattern's code."""
    threshold: float


class LBPCascade:
    """A cascade of multi-block local binary patterns in OpenCV's format (Liao et al. 2007, Viola and Jones 2001).

    Windows keep the size that the cascade was trained with, and the image is resized. All windows are judged:
    many faces are seen by two or three of them only. scikit-image's ``Cascade`` resizes the windows instead, and
    judges one at a time, which takes two to three times as long.

    Args:
        path: XML file of OpenCV's cascade training.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        root = ElementTree.parse(path).getroot()
        self.window = int(root.findtext(".//width", ""))
        self._stages = _parse(root)

    def search(self, grey: Tensor, smallest: float, scale_factor: float) -> Tensor:
        """Squares [M, 4] in which the cascade sees a face, in any order; corner of the first pixel at (0, 0).

        Args:
            grey: [H, W], floating point in 0 ... 255.
            smallest: side of the smallest square in pixels, not less than ``window``.
            scale_factor: ratio of the sides of successive squares.
        """
        height, width = grey.shape
        integral = F.pad(grey.double().cumsum(0).cumsum(1), (1, 0, 1, 0))
        levels: list[tuple[Ints, float, float]] = []
        side = smallest
        while side <= min(height, width):
            size = (round(height * self.window / side), round(width * self.window / side))
            levels.append((_resized(integral, size), width / size[1], height / size[0]))
            side *= scale_factor
        return self._search_levels(levels)

    def _search_levels(self, levels: list[tuple[Ints, float, float]]) -> Tensor:
        """Squares in all levels: integral images, and the size of their pixels in those of the image."""
        if not levels:
            return torch.zeros(0, 4)
        dense = [np.nonzero(self._dense(integral)) for integral, _, _ in levels]
        level = np.repeat(np.arange(len(levels)), [len(rows) for rows, _ in dense])
        row, column = np.concatenate(dense, axis=1)
        starts = np.cumsum([0, *(integral.size for integral, _, _ in levels[:-1])])
        flat = np.concatenate([integral.ravel() for integral, _, _ in levels])
        stride = np.array([integral.shape[1] for integral, _, _ in levels])[level]
        windows = np.stack([level, row, column, starts[level] + row * stride + column, stride])
        for stage in self._stages[_DENSE_STAGES:]:
            windows = windows[:, _votes(flat, windows[3], windows[4], stage) >= stage.threshold]
        level, row, column, _, _ = windows
        corner = np.stack([column, row], axis=1)
        zoom = np.array([zoom for _, *zoom in levels])[level]
        return torch.from_numpy(np.concatenate([corner * zoom, (corner + self.window) * zoom], axis=1)).float()

    def _dense(self, integral: Ints) -> NDArray[np.bool_]:
        """Whether the window at each place of a level passes the first stages."""
        height, width = (size - self.window for size in integral.shape)
        passed = np.ones((height, width), dtype=bool)
        planes: dict[tuple[int, int], NDArray[np.int16]] = {}
        for stage in self._stages[:_DENSE_STAGES]:
            votes = np.zeros((height, width), dtype=np.float32)
            for (x, y, w, h), table in zip(stage.blocks.tolist(), stage.votes, strict=True):
                if (w, h) not in planes:
                    planes[w, h] = _block_sums(integral, w, h)
                rows = [slice(y + h * row, y + h * row + height) for row in range(3)]
                columns = [slice(x + w * column, x + w * column + width) for column in range(3)]
                blocks = [[planes[w, h][row, column] for column in columns] for row in rows]
                votes += table.take(_codes(blocks))
            passed &= votes >= stage.threshold
        return passed


def _resized(integral: Tensor, size: tuple[int, int]) -> Ints:
    """Integral image of the image resized to (H, W); pixels are means over areas of the image.

    In whole numbers: of less than a grey level in a plain area, patterns would be made up.
    """
    corners = F.interpolate(integral[None, None], (size[0] + 1, size[1] + 1), mode="bilinear", align_corners=True)[0, 0]
    area = (integral.shape[0] - 1) * (integral.shape[1] - 1) / (size[0] * size[1])
    small = (corners.diff(dim=0).diff(dim=1) / area).round().int()
    return F.pad(small.cumsum(0, dtype=torch.int32).cumsum(1, dtype=torch.int32), (1, 0, 1, 0)).numpy()


def _block_sums(integral: Ints, width: int, height: int) -> NDArray[np.int16]:
    """Sums of all blocks of a size; those of a window fit in 16 bits."""
    sums = integral[height:, width:] - integral[:-height, width:]
    sums -= integral[height:, :-width]
    sums += integral[:-height, :-width]
    return sums.astype(np.int16)


def _codes(blocks: Sequence[Sequence[NDArray[np.integer]]]) -> NDArray[np.uint8]:
    """Local binary patterns of 3 x 3 sums."""
    code = np.zeros(blocks[1][1].shape, dtype=np.uint8)
    for row, column in _NEIGHBOURS:
        code += code
        code += blocks[row][column] >= blocks[1][1]
    return code


def _votes(flat: Ints, place: NDArray[np.intp], stride: NDArray[np.intp], stage: _Stage) -> NDArray[np.float32]:
    """Sums of votes of windows at places in flattened integral images, each with a stride between its rows."""
    votes = np.zeros(len(place), dtype=np.float32)
    for (x, y, w, h), table in zip(stage.blocks.tolist(), stage.votes, strict=True):
        # The corners of the 3 x 3 blocks, then the sums in and between them.
        lines = [place + (y + h * row) * stride for row in range(4)]
        corners = [[flat[x + w * column :].take(line) for column in range(4)] for line in lines]
        strips = [[below - above for above, below in zip(*pair, strict=True)] for pair in pairwise(corners)]
        votes += table.take(_codes([[right - left for left, right in pairwise(strip)] for strip in strips]))
    return votes


def _parse(root: ElementTree.Element) -> list[_Stage]:
    blocks = np.array(
        [[int(word) for word in (rect.text or "").split()] for rect in root.findall(".//features/_/rect")]
    )
    stages = []
    for stage in root.findall(".//stages/_"):
        places, votes = [], []
        for weak in stage.findall("weakClassifiers/_"):
            _, _, place, *masks = (int(word) for word in weak.findtext("internalNodes", "").split())
            bits = np.unpackbits(np.array(masks, dtype="<i4").view(np.uint8), bitorder="little")
            yes, no = (float(word) for word in weak.findtext("leafValues", "").split())
            places.append(place)
            votes.append(np.where(bits, yes, no))
        # As scikit-image does, against rounding of the sums.
        threshold = float(stage.findtext("stageThreshold", "")) - 1e-5
        stages.append(_Stage(blocks[places], np.array(votes, dtype=np.float32), threshold))
    return stages
