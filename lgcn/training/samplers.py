"""Which process sees which faces, so that several processes together see what one would."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import Dataset, DistributedSampler
from torch_geometric.data import Data

from lgcn.checks import InputError
from lgcn.datasets.corrupt_images import without_landmarks
from lgcn.training.seeding import mix_seed


@dataclass(frozen=True)
class Share:
    """One of several processes: number ``rank`` of ``num_replicas``."""

    num_replicas: int = 1
    rank: int = 0


class SeededSampler(DistributedSampler[Data]):
    """A process's share of all indices, in an order that depends on (seed, epoch) alone, however often it is begun.

    Each process takes every ``num_replicas``-th index of one common order, so that the n-th batches of all processes
    together hold the faces of the n-th batch of one process with ``num_replicas`` times the batch size. What is left
    over at the end of an epoch, less than such a batch, is left out, unless it is all there is: a last batch of one
    face would give batch normalisation nothing to normalise over, and processes with different numbers of batches
    would wait for each other for ever.

    Args:
        dataset: what is drawn from.
        seed: of the run.
        epoch: of the training run.
        batch_size: faces in a batch of one process.
        share: which process this is.

    Raises:
        InputError: if there are fewer faces than processes.
    """

    def __init__(self, dataset: Dataset[Data], seed: int, epoch: int, batch_size: int, share: Share) -> None:
        # A sampler that Lightning takes for a distributed one is not replaced by one of its own.
        super().__init__(dataset, share.num_replicas, share.rank, shuffle=True, drop_last=True)
        self.order_seed = mix_seed(seed, epoch)
        self.num_faces = len(dataset)  # type: ignore[arg-type]
        if self.num_faces < share.num_replicas:
            raise InputError(
                f"Expected as many training faces as there are processes, {share.num_replicas}, or more "
                f"(got {self.num_faces}). Train with fewer devices."
            )
        whole_batch = share.num_replicas * batch_size
        self.total_size = self.num_faces - self.num_faces % (
            whole_batch if self.num_faces >= whole_batch else share.num_replicas
        )
        self.num_samples = self.total_size // share.num_replicas

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(self.num_faces, generator=torch.Generator().manual_seed(self.order_seed))
        yield from order[self.rank : self.total_size : self.num_replicas].tolist()


class PaddedFaces(Dataset[Data]):
    """Faces in a number that processes can share evenly, without any that counts twice.

    The processes must run the same number of batches, because they wait for each other. What torch's sampler does
    about that, repeating the first faces, would count those twice in every mean. Here the repeated ones have
    ``visibility`` 0, which no metric counts.

    Args:
        faces: N items.
        num_replicas: processes; the length is N rounded up to a multiple of it.
    """

    def __init__(self, faces: Sequence[Data], num_replicas: int) -> None:
        self.faces = faces
        self.length = -(-len(faces) // num_replicas) * num_replicas

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Data:
        face = self.faces[index % len(self.faces)]
        return face if index < len(self.faces) else without_landmarks(face)
