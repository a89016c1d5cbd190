"""Inputs for the tests of this folder, and comparisons of modules."""

from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from lgcn.nn import (
    AdjacencyConnectivity,
    Connectivity,
    LearnableConnectivity,
    TopologyConnectivity,
    UniformConnectivity,
)

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
CONNECTIVITIES: dict[str, type[Connectivity]] = {
    "learnable": LearnableConnectivity,
    "adjacency": AdjacencyConnectivity,
    "topology": TopologyConnectivity,
    "uniform": UniformConnectivity,
}


class Landmarks(NamedTuple):
    """B images of K landmarks."""

    x: Tensor
    pos: Tensor
    confidence: Tensor


def random_landmarks(
    images: int, landmarks: int, channels: int, dtype: torch.dtype = torch.float32, requires_grad: bool = False
) -> Landmarks:
    tensors = (
        torch.randn(images, landmarks, channels, dtype=dtype),
        torch.rand(images, landmarks, 2, dtype=dtype),
        torch.rand(images, landmarks, dtype=dtype),
    )
    return Landmarks(*(tensor.requires_grad_(requires_grad) for tensor in tensors))


class Graph(NamedTuple):
    """Any graph: types may repeat or be absent, nodes may be isolated or their own neighbours."""

    num_landmarks: int
    landmark_id: Tensor
    edge_index: Tensor
    x: Tensor
    pos: Tensor
    confidence: Tensor

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The arguments of edge-list layers, in order."""
        return self.x, self.edge_index, self.pos, self.landmark_id, self.confidence

    def permuted(self, order: Tensor) -> "Graph":
        """The same graph with node ``order[k]`` in place k."""
        place = torch.empty_like(order)
        place[order] = torch.arange(order.shape[0])
        nodes = (tensor[order] for tensor in (self.x, self.pos, self.confidence))
        return Graph(self.num_landmarks, self.landmark_id[order], place[self.edge_index], *nodes)


@st.composite
def graphs(draw: st.DrawFn, channels: int = 3) -> Graph:
    num_landmarks = draw(st.integers(1, 5))
    landmark_id = draw(st.lists(st.integers(0, num_landmarks - 1), min_size=1, max_size=7))
    nodes = len(landmark_id)
    node = st.integers(0, nodes - 1)
    edges = draw(st.lists(st.tuples(node, node), max_size=20, unique=True))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    drawn = torch.rand(nodes, channels + 3, dtype=torch.float64, generator=generator)
    return Graph(
        num_landmarks,
        torch.tensor(landmark_id),
        torch.tensor(edges, dtype=torch.long).reshape(-1, 2).t().contiguous(),
        *(drawn[:, :channels], drawn[:, channels:-1], drawn[:, -1]),
    )


def random_graph(dtype: torch.dtype = torch.float32) -> Graph:
    """Nine nodes of five types, node 8 isolated; edges are in no order, and none comes twice."""
    drawn, pairs = torch.rand(9, 6, dtype=dtype), torch.randperm(8 * 8)[:30]
    edge_index = torch.stack([pairs // 8, pairs % 8])
    return Graph(5, torch.randint(0, 5, (9,)), edge_index, drawn[:, :3], drawn[:, 3:5], drawn[:, 5])


def ring(landmarks: int) -> list[tuple[int, int]]:
    """Each landmark and the next, the last and the first."""
    return [(k, (k + 1) % landmarks) for k in range(landmarks)]


def build_connectivity(name: str, landmarks: int, **options: Any) -> Connectivity:
    edges = {"edges": ring(landmarks)} if name == "topology" else {}
    return CONNECTIVITIES[name](landmarks, **edges, **options)


def randomize(module: nn.Module) -> Any:
    """Parameters large enough for uneven edge weights, also where training starts from zeros."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


def assert_close(actual: Tensor, expected: Tensor) -> None:
    """Equal to 1e-5 in float32 and 1e-10 in float64, of the largest value where that is above 1."""
    tolerance = TOLERANCE[expected.dtype] * max(1.0, expected.detach().abs().max().item() if expected.numel() else 1.0)
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


def assert_same_gradients(actual: nn.Module, expected: nn.Module) -> None:
    """The gradients of all parameters agree; one layer may be compared with a stack of one."""
    mine, theirs = (
        {name.removeprefix("convs.0."): parameter.grad for name, parameter in module.named_parameters()}
        for module in (actual, expected)
    )
    assert mine.keys() == theirs.keys()
    for name, gradient in theirs.items():
        assert gradient is not None
        # A softmax does not depend on what is added to all scores: this gradient is zero except for rounding.
        assert name.endswith("edge_mlp.lins.1.bias") or gradient.abs().max() > 0, f"no gradient reaches {name}"
        assert_close(mine[name], gradient)
