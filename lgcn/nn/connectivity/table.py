"""Scores from a table of landmark-type pairs, which the parameters alone determine."""

import math
from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch_geometric.nn import MLP

from lgcn.nn.connectivity.base import Connectivity
from lgcn.nn.functional.mlp import run_hidden_layers
from lgcn.nn.functional.pair_scores import pair_scores

# Edges times hidden units that fit into the caches.
_CACHED = 1 << 18


class EdgeTable(NamedTuple):
    """Parameter-dependent part of the scores, without the edge MLP's hidden layers after the first."""

    table: Tensor
    """T [H, K, K]: the output of the edge MLP's first layer for l_ij, including its bias."""
    of_receiver: Tensor
    """a [H]: the weight of c_i in that layer; empty if confidences are not used."""
    of_neighbor: Tensor
    """b [H], of c_j, likewise."""
    weight: Tensor
    """v [H]: the last layer of an edge MLP of two layers, with the norm before it folded in; else empty."""
    bias: Tensor
    """[1], likewise."""


class TableConnectivity(Connectivity):
    r"""Scores :math:`s_{ij} = f(\mathbf{T}_{l_i l_j} + \mathbf{a} c_i + \mathbf{b} c_j)`.

    A subclass sets ``edge_mlp``, ``act_last`` and ``use_confidence``, and provides the table.
    """

    edge_mlp: MLP
    act_last: bool
    use_confidence: bool

    @abstractmethod
    def edge_table(self) -> EdgeTable:
        """The table and its weights."""

    def edge_scores(
        self, id_i: Tensor, id_j: Tensor, confidence_i: Tensor, confidence_j: Tensor, keep: Tensor | None = None
    ) -> Tensor:
        table = self.edge_table()
        rows = table.table.flatten(1).t()
        # Rows of an embedding: unlike that of indexing, its backward pass is parallel. Indexing, here without a
        # gradient, detects each id out of range; their combination might be in range.
        row = torch.arange(len(rows), device=rows.device).view(table.table.shape[1:])[id_i, id_j]

        def score(row: Tensor, confidence_i: Tensor, confidence_j: Tensor) -> Tensor:
            hidden = functional.embedding(row, rows)
            if self.use_confidence:
                # One product of E x 2 with 2 x H instead of two outer products and their sum.
                confidence = torch.stack([confidence_i, confidence_j], dim=-1).to(hidden.dtype)
                hidden = hidden + confidence @ torch.stack([table.of_receiver, table.of_neighbor])
            return run_hidden_layers(self.edge_mlp, hidden).squeeze(-1)

        edges = max(1, _CACHED // max(1, math.prod(confidence_i.shape[:-1]) * rows.shape[1]))
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or len(row) <= edges:
            return score(row, confidence_i, confidence_j)
        # A few thousand edges at a time stay in the caches: 3 to 5 times faster at K = 98, B = 32.
        rows = rows.contiguous()
        parts = zip(*(each.split(edges, dim=-1) for each in (row, confidence_i, confidence_j)), strict=True)
        return torch.cat([score(*part) for part in parts], dim=-1)

    def pair_scores(self, confidence: Tensor, mask: Tensor | None = None) -> Tensor:
        table, of_receiver, of_neighbor, weight, bias = self.edge_table()
        confidence = confidence.to(table.dtype)
        if not self.use_confidence:
            return run_hidden_layers(self.edge_mlp, table.permute(1, 2, 0)).squeeze(-1).unsqueeze(0)
        if not len(weight):
            pairs = torch.stack(torch.broadcast_tensors(confidence.unsqueeze(-1), confidence.unsqueeze(-2)), dim=-1)
            hidden = table.permute(1, 2, 0) + pairs @ torch.stack([of_receiver, of_neighbor])
            return run_hidden_layers(self.edge_mlp, hidden).squeeze(-1)
        of_receiver, of_neighbor = of_receiver.view(-1, 1, 1), of_neighbor.view(-1, 1, 1)
        score = pair_scores(table, of_receiver * confidence, of_neighbor * confidence, weight, bias)
        if self.act_last:
            score = self.edge_mlp.norms[-1](self.edge_mlp.act(score).view(-1, 1)).view_as(score)
        return score
