"""Pictures that cannot be read or cropped: a run goes on without them if it is told to."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Dataset
from torch_geometric.data import Data

from lgcn.checks import InputFileError


class ReadableFaces(Dataset[Data]):
    """A dataset that gives a stand-in where a picture cannot be read, or a face's box not be cropped by.

    The stand-in is the next face that can be read, with ``visibility`` 0: batches keep their size and normalisation
    layers see a face, while losses and metrics count nothing of it. Every item has ``unreadable``, "" or why it
    could not be read itself, which names the file.

    Args:
        faces: items whose reading may raise :class:`InputFileError`, as a :class:`lgcn.datasets.LandmarkDataset` does.
    """

    def __init__(self, faces: Sequence[Data]) -> None:
        self.faces = faces

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, index: int) -> Data:
        """Raises :class:`InputFileError` if no picture at all can be read."""
        reason = ""
        for step in range(len(self.faces)):
            try:
                face = self.faces[(index + step) % len(self.faces)]
            except InputFileError as error:
                reason = reason or " ".join(str(error).split())
                continue
            if reason:
                face = without_landmarks(face)
            face.unreadable = reason
            return face
        raise InputFileError(f"Expected pictures that can be read (got none among {len(self.faces)}). {reason}")

    def __iter__(self) -> Iterator[Data]:
        return (self[index] for index in range(len(self)))


def without_landmarks(face: Data) -> Data:
    """The face with ``visibility`` 0 for all landmarks, so that neither losses nor metrics see any of them."""
    face = face.clone()
    face.visibility = torch.zeros_like(face.visibility)
    return face
