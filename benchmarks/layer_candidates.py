"""What ``benchmarks/layer_runtime.py`` measures: the network of the paper, single layers, and their inputs."""

import math
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any, NamedTuple

import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn

from benchmarks.engines import OnnxRuntime, ahead_of_time, compiled, torch_scatter
from lgcn.graph import landmark_graph
from lgcn.nn import LGCN, DenseLGCNConv, LearnableConnectivity, LGCNConv
from tests.nn.literal import LiteralConnectivity, LiteralLGCN

IN, CHANNELS = 66, (64, 16, 2)
MODES = ("inference", "training")
SIDE_SHOW = 5e8  # numbers on all edges


class Case(NamedTuple):
    """B complete graphs of K landmarks, as matrices and as one block-diagonal edge list."""

    x: Tensor
    pos: Tensor
    confidence: Tensor
    edge_index: Tensor
    landmark_id: Tensor
    adjacency: Tensor

    @classmethod
    def draw(cls, landmarks: int, images: int, dtype: torch.dtype = torch.float32) -> "Case":
        x = torch.randn(images, landmarks, IN, dtype=dtype, requires_grad=True)
        pos, confidence = torch.rand(images, landmarks, 2, dtype=dtype), torch.rand(images, landmarks, dtype=dtype)
        graph = landmark_graph(pos, confidence)
        return cls(x, pos, confidence, graph.edge_index, graph.landmark_id, 1 - torch.eye(landmarks)[None])

    @property
    def dense(self) -> tuple[Tensor, Tensor, Tensor]:
        """Features [B, K, C], positions [B, K, 2] and confidences [B, K]."""
        return self.x, self.pos, self.confidence

    @property
    def nodes(self) -> tuple[Tensor, Tensor, Tensor]:
        """Features [N, C], positions [N, 2] and confidences [N]."""
        return self.x.flatten(0, 1), self.pos.flatten(0, 1), self.confidence.flatten()


class Candidate(NamedTuple):
    """Something to measure."""

    name: str
    module: nn.Module
    run: Callable[[Case], Tensor]
    numbers_per_edge: int = 0  # held at once, roughly; 0 without an edge list
    reference: LiteralLGCN | None = None  # what it must agree with
    modes: tuple[str, ...] = MODES
    is_compiled: bool = False
    resident_peak: Callable[[Case], int | None] | None = None  # where PyTorch's allocator does not see its memory
    kept_bytes: int = 0  # beside the parameters, between calls for inference
    most_numbers: float = math.inf  # on all edges, above which it is left out, being a side show


def networks(
    landmarks: int, backend: str = "none", threads: int = 1, dtype: torch.dtype = torch.float32
) -> Iterator[Candidate]:
    """The network of the paper in all its forms, with the same weights; the literal one first.

    Nothing is compiled or exported before its first call.
    """
    literal = LiteralLGCN(IN, CHANNELS, LiteralConnectivity(landmarks)).to(dtype)
    sparse = LGCN(IN, CHANNELS, LearnableConnectivity(landmarks)).to(dtype)
    sparse.load_state_dict(literal.state_dict())
    dense = sparse.twin()
    frozen = dense.frozen()
    assert isinstance(dense.connectivity, LearnableConnectivity)
    with torch.no_grad():
        table_bytes = dense.connectivity.table().nbytes

    def run_literal(case: Case) -> Tensor:
        return literal(*case.nodes, case.edge_index, case.landmark_id)

    def run_sparse(case: Case) -> Tensor:
        return sparse(*case.nodes, case.edge_index, case.landmark_id)

    def ours(name: str, module: nn.Module, run: Callable[[Case], Tensor], **options: Any) -> Candidate:
        kept = frozen_bytes(frozen) if module is frozen else table_bytes
        return Candidate(name, module, run, reference=literal, kept_bytes=kept, **options)

    of_literal, only = 4 * landmarks + 200, {"modes": ("inference",)}
    yield Candidate("literal", literal, run_literal, of_literal, literal)
    yield Candidate(
        "literal + torch-scatter", literal, _scattered(run_literal), of_literal, literal, most_numbers=SIDE_SHOW
    )
    yield ours("LGCN sparse", sparse, run_sparse, numbers_per_edge=400)
    yield ours(
        "LGCN sparse + torch-scatter",
        sparse,
        _scattered(run_sparse),
        numbers_per_edge=400,
        most_numbers=SIDE_SHOW,
    )
    yield ours("LGCN dense", dense, lambda c: dense(*c.dense))
    yield ours("LGCN dense frozen", frozen, lambda c: frozen(*c.dense), **only)

    def example() -> list[Tensor]:
        return [each.detach() for each in Case.draw(landmarks, 2).dense]

    if backend != "none":
        torch.compiler.reset()
        quick, quickest = compiled(dense, backend), compiled(frozen, backend)
        by_compiler = {"is_compiled": True, "numbers_per_edge": 60}
        yield ours("LGCN compiled", dense, lambda c: quick(*c.dense), **by_compiler)._replace(kept_bytes=0)
        yield ours("LGCN frozen compiled", frozen, lambda c: quickest(*c.dense), **by_compiler, **only)
    if backend == "inductor":
        library = cache(lambda: ahead_of_time(frozen, example()))
        yield ours(
            "LGCN ahead of time",
            frozen,
            lambda c: library()(*(each.detach() for each in c.dense)),
            numbers_per_edge=60,
            **only,
        )
    session = cache(lambda: OnnxRuntime(frozen, example(), threads))
    # It writes the hidden units of all pairs down, several times over, and keeps that memory for the next call.
    yield ours(
        "ONNX Runtime",
        frozen,
        lambda c: session()(*(each.detach() for each in c.dense)),
        resident_peak=lambda c: session().peak_bytes(*(each.detach() for each in c.dense)),
        numbers_per_edge=128,
        **only,
    )


def _scattered(run: Callable[[Case], Tensor]) -> Callable[[Case], Tensor]:
    def call(case: Case) -> Tensor:
        with torch_scatter():
            return run(case)

    return call


def layers(landmarks: int, backend: str = "none") -> Iterator[Candidate]:
    """One layer of the paper with its connectivity, and what else one would take; the dense one first.

    The others are given every advantage: no dropout, attention without its weights, and those that
    could be fastest are there compiled too. Nothing is compiled before its first call.
    """
    dense = DenseLGCNConv(IN, CHANNELS[0], LearnableConnectivity(landmarks))
    sparse = LGCNConv(IN, CHANNELS[0], LearnableConnectivity(landmarks))
    sparse.load_state_dict(dense.state_dict())
    literal = LiteralLGCN(IN, CHANNELS[:1], LiteralConnectivity(landmarks))
    state = dense.state_dict()
    literal.load_state_dict({f"convs.0.{key}" if key.startswith("lin_") else key: state[key] for key in state})

    def run_sparse(case: Case) -> Tensor:
        x, pos, confidence = case.nodes
        return sparse(x, case.edge_index, pos, case.landmark_id, confidence)

    assert isinstance(dense.connectivity, LearnableConnectivity)
    with torch.no_grad():
        table_bytes = dense.connectivity.table().nbytes
    yield Candidate("DenseLGCNConv", dense, lambda c: dense(*c.dense), reference=literal, kept_bytes=table_bytes)
    frozen = dense.frozen()
    for_good = {"reference": literal, "modes": ("inference",), "kept_bytes": frozen_bytes(frozen)}
    yield Candidate("DenseLGCNConv frozen", frozen, lambda c: frozen(*c.dense), **for_good)
    yield Candidate("LGCNConv", sparse, run_sparse, 400, reference=literal, kept_bytes=table_bytes)
    if backend != "none":
        quick, quickest = compiled(dense, backend), compiled(frozen, backend)
        ours = Candidate("DenseLGCNConv compiled", dense, lambda c: quick(*c.dense), 60, literal, is_compiled=True)
        yield ours
        name = "DenseLGCNConv frozen compiled"
        yield ours._replace(name=name, module=frozen, run=lambda c: quickest(*c.dense), **for_good)
    attention = nn.MultiheadAttention(CHANNELS[0], num_heads=4, batch_first=True)
    yield Candidate("MultiheadAttention", attention, lambda c: attend(attention, c.x[..., : CHANNELS[0]]))
    dense_gcn = pyg.DenseGCNConv(IN, CHANNELS[0])
    yield Candidate("DenseGCNConv", dense_gcn, lambda c: dense_gcn(c.x, c.adjacency))
    others = {
        "GCNConv": pyg.GCNConv(IN, CHANNELS[0]),
        "GraphConv": pyg.GraphConv(IN, CHANNELS[0]),
        "GATv2Conv": pyg.GATv2Conv(IN, CHANNELS[0]),
        "TransformerConv": pyg.TransformerConv(IN, CHANNELS[0]),
        "EdgeConv": pyg.EdgeConv(nn.Sequential(nn.Linear(2 * IN, CHANNELS[0]), nn.ReLU())),
    }
    for name, conv in others.items():
        yield Candidate(name, conv, partial(send, conv), 400)
    if backend != "none":
        quick_attention, quick_conv = compiled(attention, backend), compiled(others["TransformerConv"], backend)
        yield Candidate(
            "MultiheadAttention compiled",
            attention,
            lambda c: attend(quick_attention, c.x[..., : CHANNELS[0]]),
            is_compiled=True,
        )
        yield Candidate(
            "TransformerConv compiled", others["TransformerConv"], partial(send, quick_conv), 400, is_compiled=True
        )


def frozen_bytes(frozen: nn.Module) -> int:
    """What a frozen module has computed for good."""
    return sum(buffer.nbytes for name, buffer in frozen.named_buffers() if "_frozen_" in name)


def attend(attention: Callable[..., Any], x: Tensor) -> Tensor:
    """Self-attention on [B, K, 64]."""
    return attention(x, x, x, need_weights=False)[0]


def send(conv: Callable[..., Tensor], case: Case) -> Tensor:
    """A convolution on the edge list."""
    return conv(case.nodes[0], case.edge_index)
