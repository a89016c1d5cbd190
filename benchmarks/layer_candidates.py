"""What ``benchmarks/layer_runtime.py`` measures: the network of the paper, single layers, and their inputs."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn

from lgcn.graph import landmark_graph
from lgcn.nn import LGCN, DenseLGCNConv, LearnableConnectivity, LGCNConv
from tests.nn.literal import LiteralConnectivity, LiteralLGCN

IN, CHANNELS = 66, (64, 16, 2)


class Case(NamedTuple):
    """B complete graphs of K landmarks, as matrices and as one block-diagonal edge list."""

    x: Tensor
    pos: Tensor
    confidence: Tensor
    edge_index: Tensor
    landmark_id: Tensor
    adjacency: Tensor

    @classmethod
    def draw(cls, landmarks: int, images: int) -> "Case":
        x = torch.randn(images, landmarks, IN, requires_grad=True)
        pos, confidence = torch.rand(images, landmarks, 2), torch.rand(images, landmarks)
        graph = landmark_graph(pos, confidence)
        return cls(x, pos, confidence, graph.edge_index, graph.landmark_id, 1 - torch.eye(landmarks)[None])

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


def networks(landmarks: int, backend: str) -> Iterator[Candidate]:
    """The network of the paper in all its forms, with the same weights; the literal one first."""
    literal = LiteralLGCN(IN, CHANNELS, LiteralConnectivity(landmarks))
    sparse = LGCN(IN, CHANNELS, LearnableConnectivity(landmarks))
    sparse.load_state_dict(literal.state_dict())
    dense = sparse.twin()
    yield Candidate(
        "literal", literal, lambda c: literal(*c.nodes, c.edge_index, c.landmark_id), 4 * landmarks + 200, literal
    )
    yield Candidate(
        "LGCN sparse", sparse, lambda c: sparse(*c.nodes, c.edge_index, c.landmark_id), 400, reference=literal
    )
    yield Candidate("LGCN dense", dense, lambda c: dense(c.x, c.pos, c.confidence), reference=literal)
    if backend != "none":
        torch.compiler.reset()
        compiled = torch.compile(dense, fullgraph=True, dynamic=True, backend=backend)
        yield Candidate("LGCN compiled", dense, lambda c: compiled(c.x, c.pos, c.confidence), reference=literal)


def layers(landmarks: int) -> Iterator[Candidate]:
    """One layer of the paper with its connectivity, and what else one would take; the dense one first.

    The others are given every advantage: no dropout, attention without its weights.
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

    yield Candidate("DenseLGCNConv", dense, lambda c: dense(c.x, c.pos, c.confidence), reference=literal)
    yield Candidate("LGCNConv", sparse, run_sparse, 400, reference=literal)
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


def attend(attention: nn.MultiheadAttention, x: Tensor) -> Tensor:
    """Self-attention on [B, K, 64]."""
    return attention(x, x, x, need_weights=False)[0]


def send(conv: nn.Module, case: Case) -> Tensor:
    """A convolution on the edge list."""
    return conv(case.nodes[0], case.edge_index)
