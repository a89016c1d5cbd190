"""Images that cannot be read or cropped: skip them, or stop with a short error."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch.utils.data import Dataset
from torch_geometric.data import Data

from lgcn.checks import InputError, InputFileError


class ReadableFaces(Dataset[Data]):
    """Replaces faces whose image cannot be read, or whose box cannot be cropped, by a stand-in.

    The stand-in is the next readable face with ``visibility`` 0: batches keep their size and normalisation layers see
    a face, while losses and metrics ignore it. Every item has ``unreadable``: "", or the file and the reason why its
    own image could not be read.

    Args:
        faces: items that may raise :class:`InputFileError`, as those of a :class:`lgcn.datasets.LandmarkDataset` do.
    """

    def __init__(self, faces: Sequence[Data]) -> None:
        self.faces = faces

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, index: int) -> Data:
        """Raise :class:`InputFileError` if no image at all can be read."""
        reason = ""
        for step in range(len(self.faces)):
            try:
                face = self.faces[(index + step) % len(self.faces)]
            except InputFileError as error:
                reason = reason or str(error)
                continue
            if reason:
                face = without_landmarks(face)
            face.unreadable = reason
            return face
        raise InputFileError(f"Expected images that can be read (got none among {len(self.faces)}). {reason}")

    def __iter__(self) -> Iterator[Data]:
        return (self[index] for index in range(len(self)))


def without_landmarks(face: Data) -> Data:
    """A copy of the face with ``visibility`` 0 for all landmarks, which losses and metrics ignore."""
    face = face.clone()
    face.visibility = torch.zeros_like(face.visibility)
    return face


@contextmanager
def short_worker_errors() -> Iterator[None]:
    """Remove the traceback that a data loader's worker puts into the message of an :class:`InputError`."""
    try:
        yield
    except InputError as error:
        kind = type(error)
        _, wrapped, message = error.args[0].rpartition(f"\n{kind.__module__}.{kind.__qualname__}: ")
        if not wrapped:
            raise
        raise kind(message.strip()) from error
