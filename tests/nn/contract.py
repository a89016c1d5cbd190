"""The forms of one layer and of a stack, which the contract in test_contract.py holds to the same results.

A form takes B images of K landmarks, [B, K, ...], whatever it works on internally.
"""

import copy
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from lgcn.graph import complete_edge_index, landmark_graph
from lgcn.nn import LGCN, Connectivity, DenseLGCN, DenseLGCNConv, LearnableConnectivity, LGCNConv, for_inference
from tests.nn.inputs import Landmarks, random_landmarks, randomize
from tests.nn.literal import LiteralConnectivity, LiteralLGCN

K, C, CHANNELS = 6, 4, (5, 2)


class Form(ABC):
    """One way to run a layer (``layers=1``) or a stack."""

    dense: bool
    trains = True

    def __init__(self, layers: int) -> None:
        self.channels = CHANNELS[:1] if layers == 1 else CHANNELS

    def build(self, connectivity: Connectivity | None = None, **options: Any) -> nn.Module:
        """The module whose parameters are trained."""
        connectivity = LearnableConnectivity(K) if connectivity is None else connectivity
        if len(self.channels) == 1:
            return randomize((DenseLGCNConv if self.dense else LGCNConv)(C, *self.channels, connectivity, **options))
        return randomize((DenseLGCN if self.dense else LGCN)(C, self.channels, connectivity, **options))

    def prepare(self, module: nn.Module) -> Any:
        """The module in this form."""
        return module

    @abstractmethod
    def call(self, prepared: Any, landmarks: Landmarks, mask: Tensor | None = None) -> Any:
        """Runs the module in this form on [B, K, ...]."""

    def run(self, module: nn.Module, landmarks: Landmarks, mask: Tensor | None = None) -> Tensor:
        return self.call(self.prepare(module), landmarks, mask)


class Batched(Form):
    """One block-diagonal edge list."""

    dense = False

    def call(self, prepared: Any, landmarks: Landmarks, mask: Tensor | None = None) -> Any:
        batch = landmark_graph(landmarks.pos, landmarks.confidence, landmarks.x)
        mask = None if mask is None else mask.flatten()
        nodes = (batch.x, batch.edge_index, batch.pos, batch.landmark_id, batch.confidence)
        return prepared(*nodes, mask=mask).view(*landmarks.confidence.shape, -1)


class Shared(Form):
    """B images that share one edge list."""

    dense = False

    def call(self, prepared: Any, landmarks: Landmarks, mask: Tensor | None = None) -> Any:
        x, pos, confidence = landmarks
        edges = complete_edge_index(x.shape[1])
        return prepared(x, edges, pos, torch.arange(x.shape[1]), confidence, mask=mask)


class Dense(Form):
    dense = True

    def call(self, prepared: Any, landmarks: Landmarks, mask: Tensor | None = None) -> Any:
        return prepared(*landmarks, mask=mask)


class Inference(Dense):
    trains = False

    def prepare(self, module: nn.Module) -> Any:
        return for_inference(module)


class SparseInference(Batched):
    trains = False

    def prepare(self, module: nn.Module) -> Any:
        return for_inference(module)


class Compiled(Dense):
    """In one graph for any number of images."""

    def prepare(self, module: nn.Module) -> Any:
        torch._dynamo.reset()
        return torch.compile(module, fullgraph=True, dynamic=True, backend="aot_eager")


class CompiledBatch(Batched):
    prepare = Compiled.prepare


class CompiledInference(Inference):
    def prepare(self, module: nn.Module) -> Any:
        return Compiled.prepare(self, for_inference(module))


class Exported(Dense):
    """For any number of images."""

    trains = False

    def call(self, prepared: Any, landmarks: Landmarks, mask: Tensor | None = None) -> Any:
        module = copy.deepcopy(prepared).eval()
        example = random_landmarks(2, K, C, landmarks.x.dtype)
        images = {0: torch.export.Dim("B")}
        shapes = dict.fromkeys(("x", "pos", "confidence"), images)
        if mask is None:
            return torch.export.export(module, tuple(example), dynamic_shapes=shapes).module()(*landmarks)
        given = {"mask": torch.rand(2, K) < 0.7}
        shapes |= {"mask": images}
        return torch.export.export(module, tuple(example), given, dynamic_shapes=shapes).module()(*landmarks, mask=mask)


class ExportedInference(Exported):
    def prepare(self, module: nn.Module) -> Any:
        return for_inference(module)


KINDS = (
    *(Batched, Shared, Dense, Inference, SparseInference),
    *(Compiled, CompiledBatch, CompiledInference, Exported, ExportedInference),
)
FORMS = {f"{kind.__name__}-{layers}": kind(layers) for kind in KINDS for layers in (1, 2)}
EAGER = {name: form for name, form in FORMS.items() if not name.startswith(("Compiled", "Exported"))}
TRAINED = {name: form for name, form in EAGER.items() if form.trains}


def literal_of(module: nn.Module, channels: tuple[int, ...], **options: Any) -> LiteralLGCN:
    """The literal transcription with the parameters of a layer or a stack."""
    literal = LiteralLGCN(C, channels, LiteralConnectivity(module.connectivity.num_landmarks), **options)
    state = module.state_dict()
    literal.load_state_dict({f"convs.0.{key}" if key.startswith("lin_") else key: state[key] for key in state})
    return literal.to(next(module.parameters()).dtype)


def run_literal(literal: LiteralLGCN, landmarks: Landmarks) -> Tensor:
    batch = landmark_graph(landmarks.pos, landmarks.confidence, landmarks.x)
    out = literal(batch.x, batch.pos, batch.confidence, batch.edge_index, batch.landmark_id)
    return out.view(*landmarks.confidence.shape, -1)


def run_dropped(literal: LiteralLGCN, landmarks: Landmarks, mask: Tensor) -> Tensor:
    """Each image without its missing landmarks, by the literal transcription; 0 where one is missing."""
    out = torch.zeros(*mask.shape, literal.convs[-1].lin_self.out_features, dtype=landmarks.x.dtype)
    for image, kept in enumerate(mask):
        if kept.any():
            x, pos, confidence = (tensor[image, kept] for tensor in landmarks)
            edge_index = complete_edge_index(len(x))
            out[image, kept] = literal(x, pos, confidence, edge_index, kept.nonzero().flatten())
    return out
