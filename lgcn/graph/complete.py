"""The complete graph on K landmarks."""

import torch
from torch import Tensor

from lgcn.checks import check_at_least, check_device, check_flag


def complete_edge_index(
    num_landmarks: int, self_loops: bool = False, device: torch.device | str | None = None
) -> Tensor:
    """``edge_index`` [2, K*(K-1)] (K*K with self loops), sorted by receiving node.

    Row 0 holds the neighbour j, row 1 the receiving node i, PyG's ``source_to_target`` flow.
    """
    check_at_least("num_landmarks", num_landmarks, 1)
    check_flag("self_loops", self_loops)
    if device is not None:
        device = check_device(device)
    receiving, neighbour = torch.meshgrid(
        torch.arange(num_landmarks, device=device), torch.arange(num_landmarks, device=device), indexing="ij"
    )
    edge_index = torch.stack([neighbour.flatten(), receiving.flatten()])
    return edge_index if self_loops else edge_index[:, edge_index[0] != edge_index[1]]
