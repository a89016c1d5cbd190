"""What every connectivity offers: scores of pairs of landmarks, and weights over each node's neighbours."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch_geometric.utils import softmax

from lgcn.checks import InputError, check_shape


class Connectivity(nn.Module, ABC):
    r"""Edge weights :math:`e_{ij} = \operatorname{softmax}_{j \in \mathcal{N}(i)} s_{ij}`.

    A subclass says what :math:`s_{ij}` is, once for pairs of nodes on an edge list (:meth:`edge_score`)
    and once for all pairs of K landmarks at a time (:meth:`pair_score`); both must agree.

    Args:
        num_landmarks: K, the number of landmark types.
    """

    _itself: Tensor

    def __init__(self, num_landmarks: int) -> None:
        super().__init__()
        if num_landmarks < 1:
            raise InputError(f"Expected 'num_landmarks' to be at least 1 (got {num_landmarks}).")
        self.num_landmarks = num_landmarks
        self.register_buffer("_itself", torch.eye(num_landmarks, dtype=torch.bool), persistent=False)

    def reset_parameters(self) -> None:
        """Draws all parameters anew."""

    @abstractmethod
    def edge_score(self, id_i: Tensor, id_j: Tensor, confidence_i: Tensor, confidence_j: Tensor) -> Tensor:
        """Scores of edges from types [E] and confidences [..., E] of the receiving node i and its neighbour j.

        Broadcastable to [..., E].
        """

    @abstractmethod
    def pair_score(self, confidence: Tensor) -> Tensor:
        """Scores of all pairs of landmarks, broadcastable to [B, K, K], row i receiving, from confidences [B, K]."""

    def normalize(self, score: Tensor, receiver: Tensor, num_nodes: int | None) -> Tensor:
        """Scores [..., E] -> weights [..., E] that sum to 1 over the neighbours of each receiving node."""
        return softmax(score, receiver, num_nodes=num_nodes, dim=-1)

    def forward(self, landmark_id: Tensor, confidence: Tensor, edge_index: Tensor) -> Tensor:
        """Weights [E] on an edge list, or [B, E] for B images that share one.

        Args:
            landmark_id: [N], type of each node, in 0 ... K - 1.
            confidence: [N] or [B, N], in [0, 1].
            edge_index: [2, E], neighbours j in row 0, receiving nodes i in row 1.
        """
        check_shape("landmark_id", landmark_id, "N")
        check_shape("confidence", confidence, "... N", N=landmark_id.shape[0])
        neighbour, receiver = edge_index[0], edge_index[1]
        score = self.edge_score(
            landmark_id[receiver], landmark_id[neighbour], confidence[..., receiver], confidence[..., neighbour]
        )
        weight = self.normalize(score, receiver, landmark_id.shape[0])
        return weight.expand(*confidence.shape[:-1], -1)

    def dense(self, confidence: Tensor, mask: Tensor | None = None) -> Tensor:
        """Weights [B, K, K] on complete graphs without self loops whose node k is of type k.

        Args:
            confidence: [B, K], in [0, 1].
            mask: [B, K], False where a landmark is missing: nobody's neighbour, and without neighbours.

        Returns:
            Rows sum to 1 over the neighbours; a node without neighbours has a row of zeros.
        """
        landmarks = self.num_landmarks
        check_shape("confidence", confidence, "B K", K=landmarks)
        score = self.pair_score(confidence)
        if mask is None and landmarks > 1:
            weight = score.masked_fill(self._itself, -torch.inf).softmax(dim=-1)
        else:
            stranger = self._itself
            if mask is not None:
                check_shape("mask", mask, "B K", B=confidence.shape[0], K=landmarks)
                stranger = stranger | ~(mask.unsqueeze(-1) & mask.unsqueeze(-2))
            # A finite floor keeps rows without neighbours free of NaN; clearing the strangers empties them.
            floored = score.masked_fill(stranger, torch.finfo(score.dtype).min)
            weight = floored.softmax(dim=-1).masked_fill(stranger, 0.0)
        return weight.expand(confidence.shape[0], -1, -1)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_landmarks})"
