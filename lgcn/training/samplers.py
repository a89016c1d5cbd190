"""Deterministic samplers: batches depend only on seed, epoch and position."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.utils.data import Dataset, DistributedSampler
from torch_geometric.data import Data

from lgcn.checks import InputError
from lgcn.datasets.corrupt_images import without_landmarks
from lgcn.seeding import mix_seed

SeededIndex = tuple[int, int]
"""The index of a face, and the seed of its random transforms."""


@contextmanager
def seeded_draws(seed: int) -> Iterator[None]:
    """Seeds torch's global CPU generator inside the block and restores it afterwards.

    Only the CPU generator is changed; :func:`torch.manual_seed` would also reset those of the accelerators.
    """
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before)


@dataclass(frozen=True)
class Replica:
    """Process number ``rank`` of ``num_replicas`` training processes."""

    num_replicas: int = 1
    rank: int = 0


class SeededSampler(DistributedSampler[Data]):
    """Yields (index, seed) pairs that depend on the seed of the run, the epoch and the position alone.

    The seed of a pair is that of the random transforms of :class:`SeededDataset`. It travels with the index to the
    process that loads the face, so one data loader serves all epochs, also with persistent workers.
    :meth:`set_epoch` chooses the epoch; Lightning calls it before every epoch, on one device and on several.

    Each process takes every ``num_replicas``-th index of one common order. The n-th batches of all processes together
    therefore hold the faces of the n-th batch of a single process with ``num_replicas`` times the batch size. An
    incomplete last batch is dropped unless it is the only one: batch normalisation cannot normalise a single face,
    and processes with different numbers of batches would wait for each other forever.

    Args:
        dataset: the faces.
        seed: seed of the run.
        batch_size: faces in a batch of one process.
        replica: which process this is.

    Raises:
        InputError: if there are fewer faces than processes.
    """

    def __init__(self, dataset: Dataset[Data], seed: int, batch_size: int, replica: Replica) -> None:
        # Lightning does not replace a sampler that is a DistributedSampler.
        super().__init__(dataset, replica.num_replicas, replica.rank, shuffle=True, seed=seed, drop_last=True)
        self.num_faces = len(dataset)  # type: ignore[arg-type]
        if self.num_faces < replica.num_replicas:
            raise InputError(
                f"Expected as many training faces as there are processes, {replica.num_replicas}, or more "
                f"(got {self.num_faces}). Train with fewer devices."
            )
        global_batch = replica.num_replicas * batch_size
        unit = global_batch if self.num_faces >= global_batch else replica.num_replicas
        self.total_size = self.num_faces - self.num_faces % unit
        self.num_samples = self.total_size // replica.num_replicas

    def __iter__(self) -> Iterator[SeededIndex]:
        epoch = self.epoch
        generator = torch.Generator().manual_seed(mix_seed(self.seed, epoch))
        order = torch.randperm(self.num_faces, generator=generator)
        for index in order[self.rank : self.total_size : self.num_replicas].tolist():
            yield index, mix_seed(self.seed, epoch, index)


class SeededDataset(Dataset[Data]):
    """A dataset that is indexed by (index, seed) pairs, as :class:`SeededSampler` yields them.

    The random transforms of an item depend on its seed alone: not on the number of workers, on the order of the
    items, or on what was drawn before.

    Args:
        dataset: items ``dataset[index]``, whose transforms draw from torch's global generator.
    """

    def __init__(self, dataset: Sequence[Data]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: SeededIndex) -> Data:
        index, seed = key
        with seeded_draws(seed):
            return self.dataset[index]


class PaddedDataset(Dataset[Data]):
    """Faces in a number that processes share evenly, without counting any face twice.

    All processes must run the same number of batches, because they wait for each other. torch's own sampler repeats
    the first faces, which would count them twice in every mean. Here the repeated faces have ``visibility`` 0 and no
    metric counts them.

    Args:
        faces: N items.
        num_replicas: number of processes; the length is N rounded up to a multiple of it.
    """

    def __init__(self, faces: Sequence[Data], num_replicas: int) -> None:
        self.faces = faces
        self.length = -(-len(faces) // num_replicas) * num_replicas

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Data:
        face = self.faces[index % len(self.faces)]
        return face if index < len(self.faces) else without_landmarks(face)
