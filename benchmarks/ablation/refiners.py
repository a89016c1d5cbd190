"""Variants that are compared: refiners that differ in the source of their edge weights only."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lgcn.nn import (
    AdjacencyConnectivity,
    Connectivity,
    LandmarkRefiner,
    LearnableConnectivity,
    TopologyConnectivity,
    UniformConnectivity,
)
from lgcn.nn.functional.mlp import run_mlp
from lgcn.schemes import LandmarkScheme
from lgcn.seeding import mix_seed
from lgcn.training.samplers import seeded_draws


class SampledRefiner(LandmarkRefiner):
    """A refiner of one step that is given the features at the initial landmarks, [B, C, K, 1], instead of a map."""

    def embed_visual(self, features: Tensor, pos: Tensor, step: int = 0, mask: Tensor | None = None) -> Tensor:
        return run_mlp(self.visual_mlp, features.squeeze(-1).transpose(1, 2), mask)


class IsolatedConnectivity(Connectivity):
    """No edges: all weights are 0, so that each landmark is refined alone."""

    def __init__(self, num_landmarks: int) -> None:
        super().__init__(num_landmarks, normalization="raw")

    def edge_scores(
        self, id_i: Tensor, id_j: Tensor, confidence_i: Tensor, confidence_j: Tensor, keep: Tensor | None = None
    ) -> Tensor:
        return torch.zeros_like(confidence_i)

    def pair_scores(self, confidence: Tensor, mask: Tensor | None = None) -> Tensor:
        return confidence.new_zeros(1, self.num_landmarks, self.num_landmarks)


class GatedConnectivity(Connectivity):
    r"""The scores of another connectivity plus :math:`\gamma \ln c_j`: its weights times the neighbour's confidence.

    At the initial :math:`\gamma = 1`, :math:`e_{ij} = c_j e^{s_{ij}} / \sum_k c_k e^{s_{ik}}`.

    Args:
        num_landmarks: K.
        of: name of the other connectivity in :data:`CONNECTIVITIES`.
    """

    def __init__(self, num_landmarks: int, of: str) -> None:
        super().__init__(num_landmarks)
        self.of = CONNECTIVITIES[of](num_landmarks)
        self.gamma = nn.Parameter(torch.ones(()))

    def reset_parameters(self) -> None:
        self.of.reset_parameters()
        nn.init.ones_(self.gamma)

    def edge_scores(
        self, id_i: Tensor, id_j: Tensor, confidence_i: Tensor, confidence_j: Tensor, keep: Tensor | None = None
    ) -> Tensor:
        return self.of.edge_scores(id_i, id_j, confidence_i, confidence_j, keep) + self._gate(confidence_j)

    def pair_scores(self, confidence: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.of.pair_scores(confidence, mask) + self._gate(confidence).unsqueeze(1)

    def _gate(self, confidence: Tensor) -> Tensor:
        return self.gamma * confidence.clamp_min(1e-3).log()


class RawGatedConnectivity(AdjacencyConnectivity):
    r"""A raw learned matrix times the confidences: :math:`e_{ij} = a_{ij} c_j`.

    Weights of any sign and size make each landmark a linear regression on the others; a softmax makes it their mean.

    Args:
        num_landmarks: K.
        own: also multiply by :math:`1 - c_i`, so that confident landmarks stay where they are.
    """

    def __init__(self, num_landmarks: int, own: bool = False) -> None:
        super().__init__(num_landmarks, normalization="raw")
        self.own = own

    def edge_scores(
        self, id_i: Tensor, id_j: Tensor, confidence_i: Tensor, confidence_j: Tensor, keep: Tensor | None = None
    ) -> Tensor:
        score = super().edge_scores(id_i, id_j, confidence_i, confidence_j, keep) * confidence_j
        return score * (1 - confidence_i) if self.own else score

    def pair_scores(self, confidence: Tensor, mask: Tensor | None = None) -> Tensor:
        score = super().pair_scores(confidence, mask) * confidence.unsqueeze(1)
        return score * (1 - confidence).unsqueeze(2) if self.own else score


CONNECTIVITIES: dict[str, type[Connectivity]] = {
    "learnable": LearnableConnectivity,
    "adjacency": AdjacencyConnectivity,
    "topology": TopologyConnectivity,
    "uniform": UniformConnectivity,
    "isolated": IsolatedConnectivity,
    "gated": GatedConnectivity,
    "raw_gated": RawGatedConnectivity,
}


@dataclass(frozen=True)
class Variant:
    r"""One row of a table.

    Args:
        label: of the row.
        refiner: options over :data:`COMMON`.
        faster: learning rate of the connectivity relative to that of the rest.
        confidence: what the refiner gets as confidences: ``"heatmap"`` (the backbone's), ``"oracle"``
            (:math:`e^{-20 \epsilon}` of the true error :math:`\epsilon`, a fraction of the eye distance), or
            ``"shuffled"`` (another face's).
    """

    label: str
    refiner: dict[str, Any] = field(default_factory=dict)
    faster: float = 1.0
    confidence: str = "heatmap"


COMMON: dict[str, Any] = {
    "visual_channels": (128, 64),
    "hidden_channels": (128, 64),
    "output": "offset",
    "landmark_channels": 32,
    "confidence_feature": False,
}
"""The refiner of ``lgcn-68-paper``, except that node features lack the confidence: only the edges know it."""


def _learnable(**options: Any) -> dict[str, Any]:
    return {"connectivity": "learnable", "connectivity_options": options}


def _gated(of: str) -> dict[str, Any]:
    return {"connectivity": "gated", "connectivity_options": {"of": of}}


def _raw_gated(own: bool) -> dict[str, Any]:
    return {"connectivity": "raw_gated", "connectivity_options": {"own": own}}


VARIANTS: dict[str, Variant] = {
    "isolated": Variant("no graph (each landmark alone)", {"connectivity": "isolated"}),
    "uniform": Variant("uniform", {"connectivity": "uniform"}),
    "contours": Variant("hand-made: along contours", {"connectivity": "topology"}),
    "nearest": Variant(
        "hand-made: 6 nearest", {"connectivity": "topology", "connectivity_options": {"num_nearest": 6}}
    ),
    "adjacency": Variant("learned matrix, softmax", {"connectivity": "adjacency"}),
    "adjacency_raw": Variant(
        "learned matrix, raw (Li et al.)",
        {"connectivity": "adjacency", "connectivity_options": {"normalization": "raw"}},
    ),
    "learnable": Variant("learnable (the paper)", _learnable()),
    "no_confidence": Variant("learnable without confidences", _learnable(use_confidence=False)),
    "no_class": Variant("learnable without class embedding", _learnable(use_class_embedding=False)),
    "no_shape": Variant("learnable without shape features", {**_learnable(), "shape_features": False}),
}
"""Rows that are compared with the paper's Table 3."""

CAUSES: dict[str, Variant] = {
    "gated_uniform": Variant("uniform x confidence of the neighbour", _gated("uniform")),
    "gated_adjacency": Variant("learned matrix x confidence of the neighbour", _gated("adjacency")),
    "gated_learnable": Variant("learnable x confidence of the neighbour", _gated("learnable")),
    "faster": Variant("learnable, connectivity at 10 times the rate", _learnable(), faster=10.0),
    "shuffled": Variant("learnable, confidences of another face", _learnable(), confidence="shuffled"),
    "oracle": Variant("learnable, confidences from the true errors", _learnable(), confidence="oracle"),
    "raw_learnable": Variant("learnable, raw", _learnable(normalization="raw")),
    "raw_gated": Variant("raw learned matrix x confidence of the neighbour", _raw_gated(own=False)),
    "raw_gated_own": Variant("raw learned matrix x c_j (1 - c_i)", _raw_gated(own=True)),
    "raw_gated_oracle": Variant(
        "raw learned matrix x c_j (1 - c_i), c from the true errors",
        _raw_gated(own=True),
        confidence="oracle",
    ),
    "self_scored": Variant("learnable, with self loops", _learnable(self_loops="scored")),
    "self_adjacency": Variant(
        "learned matrix, with self loops",
        {"connectivity": "adjacency", "connectivity_options": {"self_loops": "scored"}},
    ),
    "self_node_confidence": Variant(
        "learnable, with self loops and confidence feature",
        {**_learnable(self_loops="scored"), "confidence_feature": True},
    ),
    "node_confidence_isolated": Variant(
        "no graph, with confidence feature", {"connectivity": "isolated", "confidence_feature": True}
    ),
    "node_confidence_adjacency": Variant(
        "learned matrix, with confidence feature", {"connectivity": "adjacency", "confidence_feature": True}
    ),
    "node_confidence_learnable": Variant(
        "learnable, with confidence feature", {**_learnable(), "confidence_feature": True}
    ),
    "untyped_isolated": Variant(
        "no graph, no landmark embedding", {"connectivity": "isolated", "landmark_channels": 0}
    ),
    "untyped_adjacency": Variant(
        "learned matrix, no landmark embedding", {"connectivity": "adjacency", "landmark_channels": 0}
    ),
    "untyped_learnable": Variant("learnable, no landmark embedding", {**_learnable(), "landmark_channels": 0}),
}
"""Rows on why confidences help or not."""


def build(
    variant: Variant, scheme: LandmarkScheme, channels: int, input_size: tuple[int, int], shape: Tensor, seed: int
) -> SampledRefiner:
    """An untrained refiner; with one seed, all variants have the same parameters outside the connectivity.

    Args:
        variant: of the refiner.
        scheme: of the landmarks.
        channels: C of the backbone's features.
        input_size: (H, W) of the crops.
        shape: [K, 2], mean shape, for the nearest neighbours.
        seed: of the parameters.
    """
    options = {**COMMON, **variant.refiner}
    name, chosen = options.pop("connectivity"), dict(options.pop("connectivity_options", {}))
    if name == "topology" and "num_nearest" in chosen:
        chosen["mean_shape"] = shape
    elif name == "topology":
        chosen["edges"] = [edge for contour in scheme.contours for edge in contour.edges]
    with seeded_draws(mix_seed(seed, 0)):
        connectivity = CONNECTIVITIES[name](scheme.num_landmarks, **chosen)
        refiner = SampledRefiner(scheme.num_landmarks, channels, input_size, connectivity=connectivity, **options)
    with seeded_draws(mix_seed(seed, 1)):
        for part in (refiner.visual_mlp, *refiner.lgcn.convs, refiner.landmark_embedding):
            if part is not None:
                part.reset_parameters()
    for parameter in refiner.lgcn.convs[-1].parameters():
        nn.init.zeros_(parameter)
    return refiner
