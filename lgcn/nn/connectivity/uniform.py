"""Every neighbour weighs the same: the graph without a learned connectivity."""

from torch import Tensor

from lgcn.nn.connectivity.base import Connectivity


class UniformConnectivity(Connectivity):
    r"""The mean over the neighbours, :math:`e_{ij} = 1 / |\mathcal{N}(i)|`; their sum with ``normalization="raw"``.

    Scores are all the same: 0, and 1 where they weigh themselves.
    """

    def edge_score(self, id_i: Tensor, id_j: Tensor, confidence_i: Tensor, confidence_j: Tensor) -> Tensor:
        return confidence_i.new_full(confidence_i.shape, self._score)

    def pair_score(self, confidence: Tensor) -> Tensor:
        return confidence.new_full((1, self.num_landmarks, self.num_landmarks), self._score)

    @property
    def _score(self) -> float:
        return float(self.normalization == "raw")
