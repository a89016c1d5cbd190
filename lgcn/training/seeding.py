"""Random draws as functions of named integers, so that a resumed run draws what the uninterrupted one did."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch.utils.data import Dataset
from torch_geometric.data import Data


def mix_seed(*numbers: int) -> int:
    """One well-mixed 63-bit seed out of several non-negative integers, such as (seed, epoch, index)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def seeded_draws(*numbers: int) -> Iterator[None]:
    """Draws of torch's global CPU generator inside follow from ``numbers`` alone; outside nothing changes.

    Only the CPU generator is touched: :func:`torch.manual_seed` would reset the accelerators' too.
    """
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(mix_seed(*numbers))
    try:
        yield
    finally:
        torch.set_rng_state(before)


class SeededDataset(Dataset[Data]):
    """A dataset whose random transforms depend on (seed, epoch, index) and on nothing else.

    Neither the number of workers, nor the order of the items, nor what was drawn before matters.

    Args:
        dataset: items ``dataset[i]``, whose transforms draw from torch's global generator.
        seed: of the run.
        epoch: of the training run; build one wrapper per epoch.
    """

    def __init__(self, dataset: Sequence[Data], seed: int, epoch: int) -> None:
        self.dataset = dataset
        self.seed = seed
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Data:
        with seeded_draws(self.seed, self.epoch, index):
            return self.dataset[index]
