"""What is compared: refiners that differ in where their edge weights come from, and in nothing else."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lgcn.models import CONNECTIVITIES
from lgcn.nn import LandmarkRefiner
from lgcn.nn.connectivity import AdjacencyConnectivity, Connectivity, UniformConnectivity
from lgcn.schemes import LandmarkScheme
from lgcn.training.samplers import mix_seed, seeded_draws


class SampledRefiner(LandmarkRefiner):
    """A refiner of one step that is given the features at the initial landmarks, [B, C, K, 1], instead of a map."""

    def node_features(
        self, features: Tensor, pos: Tensor, confidence: Tensor, step: int = 0, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        height, width = self.input_size
        p = (pos + 0.5) / pos.new_tensor([width, height])
        visual = self.visual_mlp(features.squeeze(-1).transpose(1, 2).flatten(0, 1)).unflatten(0, pos.shape[:2])
        parts = [p, visual]
        if self.landmark_embedding is not None:
            parts.append(self.landmark_embedding.weight.expand(len(pos), -1, -1))
        if self.confidence_feature:
            parts.append(confidence.unsqueeze(-1))
        return torch.cat(parts, dim=-1), p


class IsolatedConnectivity(UniformConnectivity):
    """No edges: all weights 0, so that each landmark is refined by itself."""

    def __init__(self, num_landmarks: int) -> None:
        super().__init__(num_landmarks, normalization="raw")

    @property
    def _score(self) -> float:
        return 0.0


class GatedConnectivity(Connectivity):
    r"""Another connectivity's scores and :math:`\gamma \ln c_j`: its weights times the neighbour's confidence.

    With :math:`\gamma = 1`, where it starts, :math:`e_{ij} = c_j e^{s_{ij}} / \sum_k c_k e^{s_{ik}}`.

    Args:
        num_landmarks: K.
        of: name of the other connectivity.
    """

    def __init__(self, num_landmarks: int, of: str) -> None:
        super().__init__(num_landmarks)
        self.of = CONNECTIVITIES[of](num_landmarks)
        self.gamma = nn.Parameter(torch.ones(()))

    def reset_parameters(self) -> None:
        self.of.reset_parameters()
        nn.init.ones_(self.gamma)

    def edge_score(self, id_i: Tensor, id_j: Tensor, confidence_i: Tensor, confidence_j: Tensor) -> Tensor:
        return self.of.edge_score(id_i, id_j, confidence_i, confidence_j) + self._gate(confidence_j)

    def pair_score(self, confidence: Tensor) -> Tensor:
        return self.of.pair_score(confidence) + self._gate(confidence).unsqueeze(1)

    def _gate(self, confidence: Tensor) -> Tensor:
        return self.gamma * confidence.clamp_min(1e-3).log()


class RawGatedConnectivity(AdjacencyConnectivity):
    r"""A raw learned matrix times what the confidences say: :math:`e_{ij} = a_{ij} c_j`.

    Weights of any sign and size make a linear regression of each landmark on the others, which a mean of the others,
    as a softmax makes it, is not.

    Args:
        num_landmarks: K.
        own: also times :math:`1 - c_i`, so that sure landmarks are left where they are.
    """

    def __init__(self, num_landmarks: int, own: bool = False) -> None:
        super().__init__(num_landmarks, normalization="raw")
        self.own = own

    def edge_score(self, id_i: Tensor, id_j: Tensor, confidence_i: Tensor, confidence_j: Tensor) -> Tensor:
        score = super().edge_score(id_i, id_j, confidence_i, confidence_j) * confidence_j
        return score * (1 - confidence_i) if self.own else score

    def pair_score(self, confidence: Tensor) -> Tensor:
        score = super().pair_score(confidence) * confidence.unsqueeze(1)
        return score * (1 - confidence).unsqueeze(2) if self.own else score


# Known here alone: what is added to the package's registry would be there for all who import it.
OWN: dict[str, type[Connectivity]] = {
    "isolated": IsolatedConnectivity,
    "gated": GatedConnectivity,
    "raw_gated": RawGatedConnectivity,
}


@dataclass(frozen=True)
class Variant:
    r"""One row of a table.

    Args:
        label: what the row is called.
        refiner: options over :data:`COMMON`.
        faster: learning rate of the connectivity over that of the rest.
        confidence: what the refiner takes for confidences: ``"heatmap"`` (the backbone's), ``"oracle"``
            (:math:`e^{-20 \epsilon}` of the true error :math:`\epsilon`, a fraction of the eye distance, which only the
            annotation knows), or ``"shuffled"`` (another face's).
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
"""The refiner of ``lgcn-68``, except that a node does not see its own confidence: only the edges know it."""


def _learnable(**options: Any) -> dict[str, Any]:
    return {"connectivity": "learnable", "connectivity_options": options}


def _gated(of: str) -> dict[str, Any]:
    return {"connectivity": "gated", "connectivity_options": {"of": of}}


def _raw_gated(own: bool) -> dict[str, Any]:
    return {"connectivity": "raw_gated", "connectivity_options": {"own": own}}


VARIANTS: dict[str, Variant] = {
    "isolated": Variant("no graph (each landmark by itself)", {"connectivity": "isolated"}),
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
"""The table that the paper's Table 3 is held against."""

CAUSES: dict[str, Variant] = {
    "gated_uniform": Variant("uniform x confidence of the neighbour", _gated("uniform")),
    "gated_adjacency": Variant("learned matrix x confidence of the neighbour", _gated("adjacency")),
    "gated_learnable": Variant("learnable x confidence of the neighbour", _gated("learnable")),
    "faster": Variant("learnable, connectivity learns 10 times as fast", _learnable(), faster=10.0),
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
    "self_scored": Variant("learnable, a node weighs itself too", _learnable(self_loops="scored")),
    "self_adjacency": Variant(
        "learned matrix, a node weighs itself too",
        {"connectivity": "adjacency", "connectivity_options": {"self_loops": "scored"}},
    ),
    "self_node_confidence": Variant(
        "learnable, a node weighs itself and sees its confidence",
        {**_learnable(self_loops="scored"), "confidence_feature": True},
    ),
    "node_confidence_isolated": Variant(
        "no graph, a node sees its confidence", {"connectivity": "isolated", "confidence_feature": True}
    ),
    "node_confidence_adjacency": Variant(
        "learned matrix, a node sees its confidence", {"connectivity": "adjacency", "confidence_feature": True}
    ),
    "node_confidence_learnable": Variant(
        "learnable, a node sees its confidence", {**_learnable(), "confidence_feature": True}
    ),
    "untyped_isolated": Variant(
        "no graph, no landmark embedding", {"connectivity": "isolated", "landmark_channels": 0}
    ),
    "untyped_adjacency": Variant(
        "learned matrix, no landmark embedding", {"connectivity": "adjacency", "landmark_channels": 0}
    ),
    "untyped_learnable": Variant("learnable, no landmark embedding", {**_learnable(), "landmark_channels": 0}),
}
"""Small experiments on why confidences pay or not."""


def build(
    variant: Variant, scheme: LandmarkScheme, channels: int, input_size: tuple[int, int], shape: Tensor, seed: int
) -> SampledRefiner:
    """An untrained refiner; of one seed all start with the same parameters outside the connectivity.

    Args:
        variant: what to build.
        scheme: of the landmarks.
        channels: C of the backbone's features.
        input_size: (H, W) of the crops.
        shape: [K, 2], the mean shape, for the nearest neighbours.
        seed: of the parameters.
    """
    options = {**COMMON, **variant.refiner}
    name, chosen = options.pop("connectivity"), dict(options.pop("connectivity_options", None) or {})
    if name == "topology":
        if "num_nearest" in chosen:
            chosen["mean_shape"] = shape
        else:
            chosen["edges"] = [edge for contour in scheme.contours for edge in contour.edges]
    create = OWN[name] if name in OWN else CONNECTIVITIES[name]
    with seeded_draws(mix_seed(seed, 0)):
        connectivity = create(scheme.num_landmarks, **chosen)
        refiner = SampledRefiner(scheme.num_landmarks, channels, input_size, connectivity=connectivity, **options)
    with seeded_draws(mix_seed(seed, 1)):
        for part in (refiner.visual_mlp, *refiner.lgcn.convs, refiner.landmark_embedding):
            if part is not None:
                part.reset_parameters()
    for parameter in refiner.lgcn.convs[-1].parameters():
        nn.init.zeros_(parameter)
    return refiner
