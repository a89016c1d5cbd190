"""The faces of a split that are held out from training to make choices with."""

import torch

from lgcn.checks import InputError
from lgcn.seeding import mix_seed


def hold_out(num_faces: int, fraction: float, seed: int = 0) -> tuple[list[int], list[int]]:
    """Split faces at random into those to train on and those held out.

    Args:
        num_faces: N, more than are held out.
        fraction: of the faces that is held out, between 0 and 1; at least one is.
        seed: of the choice.

    Returns:
        Two ascending lists of places in 0 ... N - 1: of the training, and held out.

    Raises:
        InputError: if the fraction is out of range, or no face would remain for the training.
    """
    if not 0 < fraction < 1:
        raise InputError(f"Expected the fraction of faces to hold out to lie between 0 and 1 (got {fraction}).")
    count = max(1, round(fraction * num_faces))
    if count >= num_faces:
        raise InputError(
            f"Expected more than {count} faces, of which {count} would be held out for validation (got {num_faces}). "
            "Add faces, or validate on another split."
        )
    order = torch.randperm(num_faces, generator=torch.Generator().manual_seed(mix_seed(seed))).tolist()
    return sorted(order[count:]), sorted(order[:count])
