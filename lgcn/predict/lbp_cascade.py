"""Search for faces with a cascade of local binary patterns, on an image pyramid, in NumPy."""

import os
from itertools import pairwise
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

_DENSE_STAGES = 2
"""Stages that are computed for all windows at even places of a level; few pass, which are then looked up one by one."""
_COARSE_STAGES = 7
"""Stages that a window at an even place must pass before it and its neighbours are looked at closely."""
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

    Windows keep the size that the cascade was trained with, and the image is resized. scikit-image's ``Cascade``
    resizes the windows instead, and judges one at a time: it takes several times as long.

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
        levels: list[tuple[Ints, float, float]] = []
        halves = [grey[None, None]]
        side = smallest
        while side <= min(height, width):
            size = (round(height * self.window / side), round(width * self.window / side))
            # From the smallest copy that is large enough: resizing takes time in proportion to its source.
            while min(halves[-1].shape[-2:]) >= 2 * min(size):
                halves.append(F.avg_pool2d(halves[-1], 2))
            small = F.interpolate(halves[-1], size, mode="bilinear", antialias=True)[0, 0].round().int().numpy()
            integral = np.zeros((size[0] + 1, size[1] + 1), dtype=np.int32)
            np.cumsum(np.cumsum(small, axis=0, dtype=np.int32), axis=1, out=integral[1:, 1:])
            levels.append((integral, width / size[1], height / size[0]))
            side *= scale_factor
        return self._search_levels(levels)

    def _search_levels(self, levels: list[tuple[Ints, float, float]]) -> Tensor:
        """Squares in all levels: integral images, and the size of their pixels in those of the image."""
        if not levels:
            return torch.zeros(0, 4)
        dense = [np.nonzero(self._dense(integral)) for integral, _, _ in levels]
        level = np.repeat(np.arange(len(levels)), [len(rows) for rows, _ in dense])
        row, column = 2 * np.concatenate(dense, axis=1)
        shapes = np.array([integral.shape for integral, _, _ in levels])
        starts = np.cumsum([0, *(integral.size for integral, _, _ in levels[:-1])])
        flat = np.concatenate([integral.ravel() for integral, _, _ in levels])

        def passing(stages: list[_Stage], *windows: NDArray[np.intp]) -> list[NDArray[np.intp]]:
            """The level, row and column of the windows that pass."""
            for stage in stages:
                level, row, column = windows
                stride = shapes[level, 1]
                kept = _votes(flat, starts[level] + row * stride + column, stride, stage) >= stage.threshold
                windows = tuple(each[kept] for each in windows)
            return list(windows)

        level, row, column = passing(self._stages[_DENSE_STAGES:_COARSE_STAGES], level, row, column)
        near = np.array([(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
        level = np.repeat(level, len(near))
        corner = (np.stack([row, column], axis=1)[:, None] + near).reshape(-1, 2)
        inside = ((corner >= 0) & (corner < shapes[level] - self.window)).all(axis=1)
        level, row, column = np.stack([level, *corner.T])[:, inside]
        _, first = np.unique(starts[level] + row * shapes[level, 1] + column, return_index=True)
        level, row, column = passing(self._stages, level[first], row[first], column[first])
        corner = np.stack([column, row], axis=1)
        zoom = np.array([zoom for _, *zoom in levels])[level]
        return torch.from_numpy(np.concatenate([corner * zoom, (corner + self.window) * zoom], axis=1)).float()

    def _dense(self, integral: Ints) -> NDArray[np.bool_]:
        """Whether the window at each even place of a level passes the first stages."""
        height, width = ((size - self.window + 1) // 2 for size in integral.shape)
        passed = np.ones((height, width), dtype=bool)
        planes: dict[tuple[int, int], list[list[NDArray[np.int16]]]] = {}
        for stage in self._stages[:_DENSE_STAGES]:
            votes = np.zeros((height, width), dtype=np.float32)
            for (x, y, w, h), table in zip(stage.blocks.tolist(), stage.votes, strict=True):
                if (w, h) not in planes:
                    planes[w, h] = _block_sums(integral, w, h)

                def block(row: int, column: int) -> NDArray[np.int16]:
                    top, left = y + row * h, x + column * w  # noqa: B023 - called at once
                    plane = planes[w, h][top % 2][left % 2]  # noqa: B023
                    return plane[top // 2 : top // 2 + height, left // 2 : left // 2 + width]

                centre = block(1, 1)
                code = np.zeros((height, width), dtype=np.uint8)
                for row, column in _NEIGHBOURS:
                    code += code
                    code += block(row, column) >= centre
                votes += table[code]
            passed &= votes >= stage.threshold
        return passed


def _block_sums(integral: Ints, width: int, height: int) -> list[list[NDArray[np.int16]]]:
    """Sums of all blocks of a size, by whether the block's row and column are odd; a window's blocks fit in 16 bits."""
    sums = integral[height:, width:] - integral[:-height, width:]
    sums -= integral[height:, :-width]
    sums += integral[:-height, :-width]
    return [[sums[row::2, column::2].astype(np.int16) for column in (0, 1)] for row in (0, 1)]


def _votes(flat: Ints, place: NDArray[np.intp], stride: NDArray[np.intp], stage: _Stage) -> NDArray[np.float32]:
    """Sums of votes of windows at places in flattened integral images, each with a stride between its rows."""
    votes = np.zeros(len(place), dtype=np.float32)
    for (x, y, w, h), table in zip(stage.blocks.tolist(), stage.votes, strict=True):
        # The corners of the 3 x 3 blocks, then the sums in and between them.
        lines = [place + (y + h * row) * stride + x for row in range(4)]
        corners = [[flat[line + w * column] for column in range(4)] for line in lines]
        strips = [[below - above for above, below in zip(*pair, strict=True)] for pair in pairwise(corners)]
        sums = [[right - left for left, right in pairwise(strip)] for strip in strips]
        code = np.zeros(len(place), dtype=np.uint8)
        for row, column in _NEIGHBOURS:
            code += code
            code += sums[row][column] >= sums[1][1]
        votes += table[code]
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
