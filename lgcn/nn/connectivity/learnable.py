"""The paper's connectivity: from landmark types and heatmap confidences, for each image anew."""

from torch import Tensor
from torch_geometric.nn import MLP

from lgcn.nn.connectivity.base import Connectivity


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
    :math:`T` [K, K, H] of the parameters alone. An image adds only
    :math:`\mathrm{ReLU}(T_{l_i l_j} + a c_i + b c_j)`.

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
        """T [K, K, H]: what the first layer of the edge MLP makes of l_ij, its bias included."""
        first = self.edge_mlp.lins[0]
        return self.class_embedding() @ first.weight[:, 2:].t() + first.bias

    def edge_score(self, id_i: Tensor, id_j: Tensor, confidence_i: Tensor, confidence_j: Tensor) -> Tensor:
        of_i, of_j = self.edge_mlp.lins[0].weight[:, :2].t()
        hidden = self.table()[id_i, id_j] + confidence_i.unsqueeze(-1) * of_i + confidence_j.unsqueeze(-1) * of_j
        return _finish(self.edge_mlp, hidden).squeeze(-1)

    def pair_score(self, confidence: Tensor) -> Tensor:
        of_i, of_j = self.edge_mlp.lins[0].weight[:, :2].t()
        column = confidence.unsqueeze(-1)
        hidden = self.table() + (column * of_i).unsqueeze(2) + (column * of_j).unsqueeze(1)
        return _finish(self.edge_mlp, hidden).squeeze(-1)
