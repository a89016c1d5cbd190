"""Candidates of ``benchmarks/layer_runtime.py``: the network of the paper, single layers, and their inputs."""

import math
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any, NamedTuple

import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn

from benchmarks.backends import OnnxRuntime, ahead_of_time, compiled, torch_scatter
from lgcn.graph import landmark_graph
from lgcn.nn import LGCN, DenseLGCNConv, LearnableConnectivity, LGCNConv, for_inference
from tests.nn.literal import LiteralConnectivity, LiteralLGCN

IN, CHANNELS = 66, (64, 16, 2)
MODES = ("inference", "training")
MOST_NUMBERS_SCATTER = 5e8  # numbers on all edges


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
    numbers_per_edge: int = 0
    """Approximate peak of simultaneously held bytes; 0 without an edge list."""
    reference: LiteralLGCN | None = None
    """What the candidate must agree with."""
    modes: tuple[str, ...] = MODES
    is_compiled: bool = False
    resident_peak: Callable[[Case], int | None] | None = None
    """Measures memory where PyTorch's allocator does not see it."""
    kept_bytes: int = 0
    """Kept between inference calls, in addition to the parameters."""
    most_numbers: float = math.inf
    """Numbers on all edges above which the candidate is left out."""


def networks(
    landmarks: int, backend: str = "none", threads: int = 1, dtype: torch.dtype = torch.float32
) -> Iterator[Candidate]:
    """The network of the paper in all its forms, with the same weights; the literal one first.

    Nothing is compiled or exported before its first call.
    """
    literal = LiteralLGCN(IN, CHANNELS, LiteralConnectivity(landmarks)).to(dtype)
    sparse = LGCN(IN, CHANNELS, LearnableConnectivity(landmarks)).to(dtype)
    sparse.load_state_dict(literal.state_dict())
    dense = sparse.to_dense()
    inference = for_inference(dense)

    def run_literal(case: Case) -> Tensor:
        return literal(*case.nodes, case.edge_index, case.landmark_id)

    def run_sparse(case: Case) -> Tensor:
        x, pos, confidence = case.nodes
        return sparse(x, case.edge_index, pos, case.landmark_id, confidence)

    on_edges = {"reference": literal, "numbers_per_edge": 4 * landmarks + 200}
    yield Candidate("literal", literal, run_literal, **on_edges)
    scattered = {"most_numbers": MOST_NUMBERS_SCATTER}
    yield Candidate("literal + torch-scatter", literal, with_torch_scatter(run_literal), **on_edges, **scattered)
    on_edges = {"reference": literal, "numbers_per_edge": 400}
    yield Candidate("LGCN", sparse, run_sparse, **on_edges)
    yield Candidate("LGCN + torch-scatter", sparse, with_torch_scatter(run_sparse), **on_edges, **scattered)
    yield Candidate("DenseLGCN", dense, lambda c: dense(*c.dense), reference=literal)
    precomputed = {"reference": literal, "modes": ("inference",), "kept_bytes": buffer_bytes(inference)}
    yield Candidate("DenseLGCN for_inference", inference, lambda c: inference(*c.dense), **precomputed)

    def example() -> list[Tensor]:
        return [each.detach() for each in Case.draw(landmarks, 2).dense]

    if backend != "none":
        torch.compiler.reset()
        compiled_dense, compiled_inference = compiled(dense, backend), compiled(inference, backend)
        by_compiler = {"is_compiled": True, "numbers_per_edge": 60}
        yield Candidate(
            "DenseLGCN compiled", dense, lambda c: compiled_dense(*c.dense), reference=literal, **by_compiler
        )
        yield Candidate(
            "DenseLGCN for_inference compiled",
            inference,
            lambda c: compiled_inference(*c.dense),
            **by_compiler,
            **precomputed,
        )
    if backend == "inductor":
        library = cache(lambda: ahead_of_time(inference, example()))
        yield Candidate(
            "DenseLGCN AOTInductor",
            inference,
            lambda c: library()(*(each.detach() for each in c.dense)),
            numbers_per_edge=60,
            **precomputed,
        )
    session = cache(lambda: OnnxRuntime(inference, example(), threads))
    # It materialises the hidden units of all pairs several times, and keeps that memory for the next call.
    yield Candidate(
        "ONNX Runtime",
        inference,
        lambda c: session()(*(each.detach() for each in c.dense)),
        resident_peak=lambda c: session().peak_bytes(*(each.detach() for each in c.dense)),
        numbers_per_edge=128,
        **precomputed,
    )


def layers(landmarks: int, backend: str = "none") -> Iterator[Candidate]:
    """One layer of the paper with its connectivity, and common alternatives; the dense layer first.

    The alternatives are given every advantage: no dropout, attention without its weights, and the ones that could be
    fastest are also compiled. Nothing is compiled before its first call.
    """
    dense = DenseLGCNConv(IN, CHANNELS[0], LearnableConnectivity(landmarks))
    sparse = LGCNConv(IN, CHANNELS[0], LearnableConnectivity(landmarks))
    sparse.load_state_dict(dense.state_dict())
    inference = for_inference(dense)
    literal = LiteralLGCN(IN, CHANNELS[:1], LiteralConnectivity(landmarks))
    state = dense.state_dict()
    literal.load_state_dict({f"convs.0.{key}" if key.startswith("lin_") else key: state[key] for key in state})

    def run_sparse(case: Case) -> Tensor:
        x, pos, confidence = case.nodes
        return sparse(x, case.edge_index, pos, case.landmark_id, confidence)

    yield Candidate("DenseLGCNConv", dense, lambda c: dense(*c.dense), reference=literal)
    precomputed = {"reference": literal, "modes": ("inference",), "kept_bytes": buffer_bytes(inference)}
    yield Candidate("DenseLGCNConv for_inference", inference, lambda c: inference(*c.dense), **precomputed)
    yield Candidate("LGCNConv", sparse, run_sparse, 400, reference=literal)
    if backend != "none":
        compiled_dense, compiled_inference = compiled(dense, backend), compiled(inference, backend)
        by_compiler = {"is_compiled": True, "numbers_per_edge": 60}
        yield Candidate(
            "DenseLGCNConv compiled", dense, lambda c: compiled_dense(*c.dense), reference=literal, **by_compiler
        )
        yield Candidate(
            "DenseLGCNConv for_inference compiled",
            inference,
            lambda c: compiled_inference(*c.dense),
            **by_compiler,
            **precomputed,
        )
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
        yield Candidate(name, conv, partial(convolve, conv), 400)
    if backend != "none":
        compiled_attention = compiled(attention, backend)
        yield Candidate(
            "MultiheadAttention compiled",
            attention,
            lambda c: attend(compiled_attention, c.x[..., : CHANNELS[0]]),
            is_compiled=True,
        )
        transformer = others["TransformerConv"]
        run = partial(convolve, compiled(transformer, backend))
        yield Candidate("TransformerConv compiled", transformer, run, 400, is_compiled=True)


def buffer_bytes(module: nn.Module) -> int:
    """Size of what a module for inference has computed in advance."""
    return sum(buffer.nbytes for buffer in module.buffers())


def with_torch_scatter(run: Callable[[Case], Tensor]) -> Callable[[Case], Tensor]:
    """The same call with PyG's use of torch-scatter switched on."""

    def call(case: Case) -> Tensor:
        with torch_scatter():
            return run(case)

    return call


def attend(attention: Callable[..., Any], x: Tensor) -> Tensor:
    """Self-attention on [B, K, 64]."""
    return attention(x, x, x, need_weights=False)[0]


def convolve(conv: Callable[..., Tensor], case: Case) -> Tensor:
    """A convolution on the edge list."""
    return conv(case.nodes[0], case.edge_index)
