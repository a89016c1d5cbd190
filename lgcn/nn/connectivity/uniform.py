"""Every neighbour weighs the same: the graph without a learned connectivity."""

from torch import Tensor

from lgcn.nn.connectivity.base import Connectivity


class UniformConnectivity(Connectivity):
    r""":math:`s_{ij} = 0`, so that :math:`e_{ij} = 1 / |\mathcal{N}(i)|`."""

    def edge_score(self, id_i: Tensor, id_j: Tensor, confidence_i: Tensor, confidence_j: Tensor) -> Tensor:
        return confidence_i.new_zeros(confidence_i.shape)

    def pair_score(self, confidence: Tensor) -> Tensor:
        return confidence.new_zeros(1, self.num_landmarks, self.num_landmarks)
