"""One learned matrix of scores for all images."""

import torch
from torch import Tensor, nn

from lgcn.nn.connectivity.base import Connectivity


class AdjacencyConnectivity(Connectivity):
    r"""A learned score for each pair of landmark types, :math:`s_{ij} = A_{l_i l_j}`, the same for every image.

    From `"Structured Landmark Detection via Topology-Adapting Deep Graph Learning"
    <https://arxiv.org/abs/2004.08190>`_, the baseline of the paper's ablation, where the matrix itself is the weight
    (``normalization="raw"``).

    Args:
        num_landmarks: K.
        normalization, self_loops, symmetric: see :class:`Connectivity`.

    ``weight`` [K, K] starts with equal edge weights: at zero, or at 1 / K with ``normalization="raw"``.
    """

    def __init__(
        self,
        num_landmarks: int,
        normalization: str = "softmax",
        self_loops: str = "none",
        symmetric: bool = False,
    ) -> None:
        super().__init__(num_landmarks, normalization, self_loops, symmetric)
        self.weight = nn.Parameter(torch.empty(num_landmarks, num_landmarks))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Reset ``weight`` to equal edge weights."""
        nn.init.constant_(self.weight, 1 / self.num_landmarks if self.normalization == "raw" else 0.0)

    def edge_scores(
        self, id_i: Tensor, id_j: Tensor, confidence_i: Tensor, confidence_j: Tensor, keep: Tensor | None = None
    ) -> Tensor:
        return self.weight[id_i, id_j]

    def pair_scores(self, confidence: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.weight.unsqueeze(0)
