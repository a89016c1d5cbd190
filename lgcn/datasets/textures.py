"""Textures for patches over faces, cut from the images of a dataset."""

from collections.abc import Sequence
from typing import overload

import torch
from torch import Tensor

from lgcn.checks import InputError, InputFileError, check_at_least
from lgcn.datasets.base import LandmarkDataset
from lgcn.transforms import CropToInput
from lgcn.typing import Size


class FaceTextures(Sequence[Tensor]):
    """Images uint8 [3, h, w] of faces with their surroundings, for :class:`lgcn.transforms.FacePatch`.

    Which faces they show depends only on the dataset. Each is read when it is first used, and kept: 256 of
    192 x 192 pixels take 28 MB in each process that loads data. The next readable face replaces one that cannot be
    read.

    Args:
        dataset: faces, taken before its ``transform``.
        size: (h, w), the size of the network's input, so that textures have the resolution of the faces.
        count: number of textures; of a smaller dataset, each face once.

    Raises:
        InputError: for a dataset without faces; :class:`~lgcn.checks.InputFileError` on access, if none can be read.
    """

    def __init__(self, dataset: LandmarkDataset, size: Size, count: int = 256) -> None:
        check_at_least("count", count, 1)
        if not len(dataset):
            raise InputError("Expected 'dataset' with faces to cut textures from (got none).")
        self.dataset = dataset
        self.crop = CropToInput(size, enlargement=2.0)
        order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))
        self.faces: list[int] = torch.tensor(list(dataset.indices()))[order[:count]].tolist()
        self._kept: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.faces)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        # Raises IndexError for an index out of range, which ends iteration.
        face = self.faces[index]
        if face not in self._kept:
            self._kept[face] = self._read(self.faces.index(face))
        return self._kept[face]

    def _read(self, place: int) -> Tensor:
        first: InputFileError | None = None
        for face in self.faces[place:] + self.faces[:place]:
            try:
                return self.crop(self.dataset.get(face)).image[0]
            except InputFileError as error:
                first = first or error
        assert first is not None
        raise first
