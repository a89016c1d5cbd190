"""Eq. 4-6 of the paper as they are written: slow, and the measure of all that `lgcn.nn` computes otherwise.

One-hot vectors, an edge list, one message for every edge. Nothing here is taken from `lgcn`. The parameters
bear the names of its modules, so `load_state_dict` takes over their weights as they are. The tests hold the layers to
it and the benchmarks take it as their baseline.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import MLP, MessagePassing
from torch_geometric.utils import softmax


class LiteralConnectivity(nn.Module):
    r"""Eq. 5, eq. 6 and the softmax over each node's neighbours.

    .. math::
        l_{ij} = \mathrm{MLP}(g(l_i) \oplus g(l_j)), \qquad
        s_{ij} = \mathrm{MLP}([c_i, c_j] \oplus l_{ij}), \qquad
        e_{ij} = \operatorname{softmax}_{j \in \mathcal{N}(i)} s_{ij}
    """

    def __init__(
        self,
        num_landmarks: int,
        class_hidden_channels: int = 32,
        class_channels: int = 32,
        edge_hidden_channels: int = 32,
    ) -> None:
        super().__init__()
        self.num_landmarks = num_landmarks
        self.class_mlp = MLP([2 * num_landmarks, class_hidden_channels, class_channels], norm=None)
        self.edge_mlp = MLP([2 + class_channels, edge_hidden_channels, 1], norm=None)

    def forward(self, landmark_id: Tensor, confidence: Tensor, edge_index: Tensor) -> Tensor:
        """e_ij [E] from types [N], confidences [N] and edges [2, E] from neighbours j (row 0) to nodes i (row 1)."""
        j, i = edge_index
        g = F.one_hot(landmark_id, self.num_landmarks).to(confidence.dtype)
        l_ij = self.class_mlp(torch.cat([g[i], g[j]], dim=-1))
        s_ij = self.edge_mlp(torch.cat([confidence[i, None], confidence[j, None], l_ij], dim=-1))
        return softmax(s_ij.squeeze(-1), i, num_nodes=landmark_id.shape[0])


class LiteralLGCNConv(MessagePassing):
    r"""Eq. 4 (and 1, without shape features).

    .. math::
        h'_i = W_1 h_i + \sum_{j \in \mathcal{N}(i)} e_{ij} W_2 (h_j \oplus q_{ij}), \qquad q_{ij} = p_i - p_j
    """

    def __init__(self, in_channels: int, out_channels: int, shape_features: bool = True, bias: bool = True) -> None:
        super().__init__(aggr="add")
        self.shape_features = shape_features
        self.lin_self = nn.Linear(in_channels, out_channels, bias=bias)
        self.lin_neighbor = nn.Linear(in_channels + 2 * shape_features, out_channels, bias=False)

    def forward(self, x: Tensor, pos: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        """h' [N, C'] from h [N, C], initial positions [N, 2], edges [2, E] and their weights e_ij [E]."""
        # propagate_type: (x: Tensor, pos: Tensor, edge_weight: Tensor)
        return self.lin_self(x) + self.propagate(edge_index, x=x, pos=pos, edge_weight=edge_weight)

    def message(self, x_j: Tensor, pos_i: Tensor, pos_j: Tensor, edge_weight: Tensor) -> Tensor:
        h_j = torch.cat([x_j, pos_i - pos_j], dim=-1) if self.shape_features else x_j
        return edge_weight.unsqueeze(-1) * self.lin_neighbor(h_j)


class LiteralLGCN(nn.Module):
    """The graph part of section III: e_ij once an image, then layers of eq. 4 with a ReLU between them."""

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        connectivity: LiteralConnectivity,
        shape_features: bool | Sequence[bool] = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        flags = [shape_features] * len(channels) if isinstance(shape_features, bool) else shape_features
        self.connectivity = connectivity
        self.convs = nn.ModuleList(
            LiteralLGCNConv(before, after, flag, bias)
            for before, after, flag in zip([in_channels, *channels], channels, flags, strict=False)
        )

    def forward(self, x: Tensor, pos: Tensor, confidence: Tensor, edge_index: Tensor, landmark_id: Tensor) -> Tensor:
        """h of the last layer [N, C'] from h^0 [N, C], initial positions, confidences, edges and types."""
        edge_weight = self.connectivity(landmark_id, confidence, edge_index)
        for layer, conv in enumerate(self.convs):
            x = conv(x if layer == 0 else x.relu(), pos, edge_index, edge_weight)
        return x
