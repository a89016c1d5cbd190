"""Equal weights for all neighbours: the graph without a learned connectivity."""

from torch import Tensor

from lgcn.nn.connectivity.base import Connectivity


class UniformConnectivity(Connectivity):
    r"""The mean over the neighbours, :math:`e_{ij} = 1 / |\mathcal{N}(i)|`; their sum with ``normalization="raw"``.

    All scores are equal: 0, or 1 with ``normalization="raw"``.
    """

    def edge_scores(
        self, id_i: Tensor, id_j: Tensor, confidence_i: Tensor, confidence_j: Tensor, keep: Tensor | None = None
    ) -> Tensor:
        return confidence_i.new_full(confidence_i.shape, self._score)

    def pair_scores(self, confidence: Tensor, mask: Tensor | None = None) -> Tensor:
        return confidence.new_full((1, self.num_landmarks, self.num_landmarks), self._score)

    @property
    def _score(self) -> float:
        return float(self.normalization == "raw")
