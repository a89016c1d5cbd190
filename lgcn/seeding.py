"""Seeds of random draws."""

import numpy as np


def mix_seed(*numbers: int) -> int:
    """A well-mixed 63-bit seed from non-negative integers, such as (seed, epoch, index)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
