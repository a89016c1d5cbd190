"""The complete graph on K landmarks."""

import torch
from torch import Tensor

from lgcn.checks import InputError


def complete_edge_index(
    num_landmarks: int, self_loops: bool = False, device: torch.device | str | None = None
) -> Tensor:
    """``edge_index`` [2, K*(K-1)] (K*K with self loops), sorted by receiving node.

    Row 0 holds the neighbour j, row 1 the receiving node i, PyG's ``source_to_target`` flow.
    """
    if num_landmarks < 1:
        raise InputError(f"Expected 'num_landmarks' to be at least 1 (got {num_landmarks}).")
    receiving, neighbour = torch.meshgrid(
        torch.arange(num_landmarks, device=device), torch.arange(num_landmarks, device=device), indexing="ij"
    )
    edge_index = torch.stack([neighbour.flatten(), receiving.flatten()])
    return edge_index if self_loops else edge_index[:, edge_index[0] != edge_index[1]]
