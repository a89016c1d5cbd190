"""The paper's connectivity: from landmark types and heatmap confidences, for each image anew."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch_geometric.nn import MLP

from lgcn.nn.connectivity.base import Connectivity
from lgcn.nn.connectivity.pair_scores import pair_scores


def _finish(mlp: MLP, hidden: Tensor) -> Tensor:
    """What an MLP does after its first linear layer."""
    for lin in list(mlp.lins)[1:]:
        hidden = lin(mlp.act(hidden))
    return hidden


class LearnableConnectivity(Connectivity):
    r"""Edge weights from pairs of landmark types and of confidences, eq. 5 and 6.

    .. math::
        l_{ij} = \mathrm{MLP}_{class}(g(l_i) \oplus g(l_j)), \qquad
        s_{ij} = \mathrm{MLP}_{edge}([c_i, c_j] \oplus l_{ij}), \qquad
        e_{ij} = \operatorname{softmax}_{j \in \mathcal{N}(i)} s_{ij}

    with one-hot types :math:`g` and confidences :math:`c`; from `"Facial Landmark Detection with Learnable
    Connectivity Graph Convolutional Network"`.

    Computed without one-hot vectors: a linear layer on :math:`g(l_i) \oplus g(l_j)` is the sum of two rows of
    its weight, so all of the class MLP, and what the edge MLP's first layer makes of it, is a table
    :math:`T` [K, K, H] of the parameters alone, kept as long as they do not change. An image adds only
    :math:`\mathrm{ReLU}(T_{l_i l_j} + a c_i + b c_j)`, see :mod:`lgcn.nn.connectivity.pair_scores`.

    Args:
        num_landmarks: K.
        class_hidden_channels: width of the class MLP's hidden layer.
        class_channels: width of :math:`l_{ij}`.
        edge_hidden_channels: H, width of the edge MLP's hidden layer.
    """

    def __init__(
        self,
        num_landmarks: int,
        class_hidden_channels: int = 32,
        class_channels: int = 32,
        edge_hidden_channels: int = 32,
    ) -> None:
        super().__init__(num_landmarks)
        self._kept: tuple[Tensor, Tensor] | None = None
        self.class_mlp = MLP([2 * num_landmarks, class_hidden_channels, class_channels], norm=None)
        self.edge_mlp = MLP([2 + class_channels, edge_hidden_channels, 1], norm=None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.class_mlp.reset_parameters()
        self.edge_mlp.reset_parameters()

    def class_embedding(self) -> Tensor:
        """l_ij of eq. 5 for all pairs of types, [K, K, class_channels]."""
        first = self.class_mlp.lins[0]
        receiving, neighbour = first.weight.t().split(self.num_landmarks)
        return _finish(self.class_mlp, receiving.unsqueeze(1) + neighbour + first.bias)

    def table(self) -> Tensor:
        """T [H, K, K]: what the first layer of the edge MLP makes of l_ij, its bias included.

        Without gradients it is computed once and kept until a parameter has another value.
        """
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or self._device.type != "cpu":
            return self._compute_table()
        # Values are compared, not version counters, which edits through ``.data`` pass by; they are few.
        parameters = torch.cat([parameter.detach().flatten() for parameter in self.parameters()])
        if self._kept is None or self._kept[0].dtype != parameters.dtype or not torch.equal(self._kept[0], parameters):
            self._kept = (parameters, self._compute_table())
        return self._kept[1]

    def edge_score(self, id_i: Tensor, id_j: Tensor, confidence_i: Tensor, confidence_j: Tensor) -> Tensor:
        # Rows of an embedding, whose backward is parallel; that of indexing is not. But indexing, here without a
        # gradient, refuses each of the two ids where it is out of range; their combination might not be.
        table = self.table()
        row = torch.arange(table[0].numel(), device=table.device).view_as(table[0])[id_i, id_j]
        types = functional.embedding(row, table.flatten(1).t())
        # One product of E x 2 with 2 x H instead of two outer products, each E x H, and their sum.
        confidence = torch.stack([confidence_i, confidence_j], dim=-1)
        hidden = types + confidence @ self.edge_mlp.lins[0].weight[:, :2].t()
        return _finish(self.edge_mlp, hidden).squeeze(-1)

    def pair_score(self, confidence: Tensor) -> Tensor:
        of_i, of_j = self.edge_mlp.lins[0].weight[:, :2].t().unsqueeze(-1).unsqueeze(-1)
        last = self.edge_mlp.lins[1]
        return pair_scores(self.table(), of_i * confidence, of_j * confidence, last.weight[0]) + last.bias

    @property
    def _device(self) -> torch.device:
        return self.edge_mlp.lins[0].weight.device

    def _compute_table(self) -> Tensor:
        first = self.edge_mlp.lins[0]
        embedding = self.class_embedding().flatten(0, 1)
        return (first.weight[:, 2:] @ embedding.t() + first.bias.unsqueeze(-1)).unflatten(1, (self.num_landmarks, -1))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}
