"""What edge lists allow beyond the contract of all forms: any graph, any layout, bipartite graphs, aggregations."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch_geometric import EdgeIndex
from torch_geometric.data import HeteroData
from torch_geometric.explain.algorithm.utils import set_masks
from torch_geometric.nn import HeteroConv, MeanAggregation, SumAggregation, to_hetero
from torch_geometric.utils import sort_edge_index, subgraph

from lgcn.checks import InputError
from lgcn.nn import LGCN, LearnableConnectivity, LGCNConv
from tests.nn.inputs import Graph, assert_close, build_connectivity, graphs, random_graph, randomize
from tests.nn.literal import LiteralConnectivity, LiteralLGCN, LiteralLGCNConv

EVERY = ("learnable", "adjacency", "topology", "uniform")


def build(landmarks: int = 5, **options: Any) -> LGCNConv:
    return randomize(LGCNConv(3, 4, LearnableConnectivity(landmarks), **options))


def run_literal(module: nn.Module, graph: Graph) -> Tensor:
    literal = LiteralLGCN(3, [4], LiteralConnectivity(graph.num_landmarks)).double()
    state = module.state_dict()
    literal.load_state_dict({f"convs.0.{key}" if key.startswith("lin_") else key: state[key] for key in state})
    return literal(graph.x, graph.pos, graph.confidence, graph.edge_index, graph.landmark_id)


@settings(max_examples=25, deadline=None)
@given(graph=graphs(), data=st.data())
def test_any_graph(graph: Graph, data: st.DataObject) -> None:
    torch.manual_seed(0)  # an example that fails must fail again
    conv, nodes = build(graph.num_landmarks).double(), len(graph.x)
    out = conv(*graph.inputs)
    assert_close(out, run_literal(conv, graph))
    order = torch.randperm(graph.edge_index.shape[1])
    assert_close(conv(*graph._replace(edge_index=graph.edge_index[:, order]).inputs), out)
    order = torch.randperm(nodes)
    assert_close(conv(*graph.permuted(order).inputs), out[order])

    mask = torch.tensor(data.draw(st.lists(st.booleans(), min_size=nodes, max_size=nodes)))
    hidden = (each.masked_fill(~mask.view(-1, *[1] * (each.dim() - 1)), torch.nan) for each in graph[3:])
    edge_index, _ = subgraph(mask, graph.edge_index, relabel_nodes=True, num_nodes=nodes)
    rest = Graph(graph.num_landmarks, graph.landmark_id[mask], edge_index, *(each[mask] for each in graph[3:]))
    masked = conv(*Graph(*graph[:3], *hidden).inputs, mask=mask)
    assert masked[~mask].eq(0).all()
    if mask.any():
        assert_close(masked[mask], conv(*rest.inputs))


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("kind", [LGCNConv, LGCN])
def test_a_position_reaches_exactly_the_nodes_that_equation_4_couples(kind: type[nn.Module], fuse: bool) -> None:
    # 0 -> 1 -> 2 and 4 -> 5 in one graph; 3 has no edges.
    edge_index = torch.tensor([[0, 1, 4], [1, 2, 5]])
    module = randomize(kind(3, 4 if kind is LGCNConv else [4], LearnableConnectivity(5)))
    for layer in module.modules():
        if isinstance(layer, LGCNConv):
            layer.fuse = fuse
    graph = random_graph()
    x, pos, rest = graph.x[:6], graph.pos[:6], (graph.landmark_id[:6], graph.confidence[:6])
    expected = module(x, edge_index, pos, *rest)
    reached = {0: [1], 1: [1, 2], 2: [2], 3: [], 4: [5], 5: [5]}
    for node, receivers in reached.items():
        others = [k for k in range(6) if k not in receivers]
        for value in (torch.nan, 1e8):
            moved = pos.clone()
            moved[node] = value
            out = module(x, edge_index, moved, *rest)
            # Not a bit of the others changes.
            assert torch.equal(out[others], expected[others])
            assert not receivers or not torch.equal(out[receivers], expected[receivers])


@pytest.mark.parametrize("name", EVERY)
def test_options_of_the_message_passing_base(name: str) -> None:
    graph = random_graph()
    conv = randomize(LGCNConv(3, 4, build_connectivity(name, 5)))
    expected = conv(*graph.inputs)
    backward = LGCNConv(3, 4, conv.connectivity, flow="target_to_source")
    backward.load_state_dict(conv.state_dict())
    flipped = graph.edge_index.flip(0)
    for edges in (flipped, EdgeIndex(flipped, sparse_size=(9, 9)).sort_by("row").values):
        assert_close(backward(*graph._replace(edge_index=edges).inputs), expected)
    with pytest.raises(InputError, match="'edge_index' .* with flow='target_to_source' .got a sparse matrix"):
        backward(*graph._replace(edge_index=layouts(graph.edge_index)["csr"]).inputs)
    for module, aggr in ((SumAggregation(), "add"), (MeanAggregation(), "mean")):
        first, second = (LGCNConv(3, 4, conv.connectivity, aggr=each) for each in (module, aggr))
        second.load_state_dict(first.state_dict())
        assert_close(second(*graph.inputs), first(*graph.inputs))
    several = LGCNConv(3, 4, conv.connectivity, False, aggr=["add", "max"], aggr_kwargs={"mode": "sum"})
    assert several(*graph.inputs).shape == (9, 4)


def test_a_mean_over_the_neighbours_of_weights_that_do_not_sum_to_one() -> None:
    graph, weight = random_graph(torch.float64), torch.randn(30, dtype=torch.float64)
    degree = torch.zeros(9).double().index_add(0, graph.edge_index[1], torch.ones(30).double()).clamp(min=1)
    for aggr, shares in (("add", weight), ("mean", weight / degree[graph.edge_index[1]])):
        conv, literal = randomize(LGCNConv(3, 4, aggr=aggr)).double(), LiteralLGCNConv(3, 4).double()
        literal.load_state_dict(conv.state_dict())
        expected = literal(graph.x, graph.pos, graph.edge_index, shares)
        assert_close(conv(graph.x, graph.edge_index, graph.pos, edge_weight=weight), expected)


def test_edge_weights_are_returned_and_taken() -> None:
    graph = random_graph()
    for module in (build(), randomize(LGCN(3, [4, 2], LearnableConnectivity(5)))):
        out, (edge_index, weight) = module(*graph.inputs, return_connectivity=True)
        assert edge_index is graph.edge_index
        assert_close(weight, module.connectivity(graph.landmark_id, graph.confidence, graph.edge_index))
        assert_close(module(graph.x, graph.edge_index, graph.pos, edge_weight=weight), out)


def layouts(edge_index: Tensor) -> dict[str, Any]:
    plain = EdgeIndex(edge_index, sparse_size=(9, 9))
    matrix = torch.sparse_coo_tensor(edge_index.flip(0), torch.ones(edge_index.shape[1]), (9, 9)).coalesce()
    found: dict[str, Any] = {"unsorted": plain}
    found |= {f"by-{order}": plain.sort_by(order).values for order in ("row", "col")}
    found |= {"coo": matrix, "csr": matrix.to_sparse_csr()}
    try:
        from torch_sparse import SparseTensor
    except ImportError:
        return found
    return {**found, "SparseTensor": SparseTensor(row=edge_index[1], col=edge_index[0], sparse_sizes=(9, 9))}


@pytest.mark.parametrize("kind", [LGCNConv, LGCN])
def test_layouts_of_the_edges(kind: type[nn.Module]) -> None:
    graph = random_graph()
    module = randomize(kind(3, 4 if kind is LGCNConv else [4, 2], LearnableConnectivity(5)))
    expected, mask = module(*graph.inputs), torch.arange(9) != 2
    masked, in_order = module(*graph.inputs, mask=mask), sort_edge_index(graph.edge_index, sort_by_row=False)
    for name, edges in layouts(graph.edge_index).items():
        nodes = (graph.x, edges, graph.pos, graph.landmark_id, graph.confidence)
        assert_close(module(*nodes), expected)
        assert_close(module(*nodes, mask=mask), masked)
        if name in ("coo", "csr", "SparseTensor"):
            # Given weights are in the order of the matrix.
            weight = module.connectivity(graph.landmark_id, graph.confidence, in_order)
            assert_close(module(graph.x, edges, graph.pos, edge_weight=weight), expected)


def test_layouts_that_cannot_be_used() -> None:
    conv, graph = build(), random_graph()
    matrix = torch.sparse_coo_tensor(graph.edge_index.flip(0), torch.ones(30), (9, 9))
    for edges, message in (
        (matrix, "'edge_index' to be coalesced .*Use .coalesce"),
        (matrix.coalesce().to_sparse_csc(), "'edge_index' as a list, COO or CSR .got torch.sparse_csc"),
        (None, "'edge_index' to be a tensor .* .got NoneType"),
        (graph.edge_index.tolist(), "'edge_index' to be a tensor .* .got list"),
    ):
        for module in (conv, LGCN(3, [4], conv.connectivity)):
            with pytest.raises(InputError, match=message):
                module(graph.x, edges, graph.pos, graph.landmark_id, graph.confidence)


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("channels", [(3, 2), (-1, -1)])
def test_bipartite_graphs(channels: tuple[int, int], fuse: bool) -> None:
    source, target = torch.randn(7, 3), torch.randn(4, 2)
    p, q = torch.rand(7, 2), torch.rand(4, 2)
    edge_index, weight = torch.tensor([[6, 0, 3, 3], [0, 0, 2, 3]]), torch.rand(4)
    conv = LGCNConv(channels, 5)
    conv.fuse = fuse
    out = conv((source, target), edge_index, (p, q), edge_weight=weight)
    expected = conv.lin_self(target)
    for (j, i), e in zip(edge_index.t().tolist(), weight, strict=True):
        expected = expected.clone()
        expected[i] += e * conv.lin_neighbor(torch.cat([source[j], q[i] - p[j]]))
    assert_close(out, expected)
    for bad in ({"mask": torch.ones(4).bool(), "edge_weight": weight}, {}):
        with pytest.raises(InputError, match="'edge_weight' .* with a pair 'x'"):
            conv((source, target), edge_index, (p, q), **bad)
    with pytest.raises(InputError, match="'edge_index' in 0 ... 3 .got 6"):
        conv((source, target), edge_index.flip(0), (p, q), edge_weight=weight)
    with pytest.raises(InputError, match="'x' to be a tensor .got NoneType"):
        conv((source, None), edge_index, (p, q), edge_weight=weight)


def hetero() -> HeteroData:
    data = HeteroData()
    data["face"].x, data["body"].x = torch.randn(4, 3), torch.randn(6, 2)
    data["face"].pos, data["body"].pos = torch.rand(4, 2), torch.rand(6, 2)
    for name, sizes in (("of", (4, 6)), ("to", (6, 4)), ("near", (4, 4))):
        ends = ("face" if sizes[0] == 4 else "body", name, "face" if sizes[1] == 4 else "body")
        data[ends].edge_index = torch.stack([torch.randint(0, size, (5,)) for size in sizes])
        data[ends].edge_weight = torch.rand(5)
    return data


def test_hetero_conv() -> None:
    data = hetero()
    convs = {edge_type: LGCNConv((-1, -1), 4) for edge_type in data.edge_types}
    model = HeteroConv(convs, aggr="sum")
    given = {"pos_dict": data.pos_dict, "edge_weight_dict": data.edge_weight_dict}
    out = model(data.x_dict, data.edge_index_dict, **given)
    edges = data["body", "to", "face"]
    pair = ((data["body"].x, data["face"].x), edges.edge_index, (data["body"].pos, data["face"].pos))
    near = data["face", "near", "face"]
    expected = convs["body", "to", "face"](*pair, edge_weight=edges.edge_weight)
    expected = expected + convs["face", "near", "face"](
        data["face"].x, near.edge_index, data["face"].pos, edge_weight=near.edge_weight
    )
    assert_close(out["face"], expected)
    assert out["body"].shape == (6, 4)


def test_to_hetero() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = LGCNConv((-1, -1), 8, shape_features=False)
            self.second = LGCNConv((-1, -1), 2, shape_features=False)

        def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
            x = self.first(x, edge_index, edge_weight=edge_weight).relu()
            return self.second(x, edge_index, edge_weight=edge_weight)

    data = hetero()
    model = to_hetero(Model(), data.metadata())
    out = model(data.x_dict, data.edge_index_dict, data.edge_weight_dict)
    assert {name: each.shape for name, each in out.items()} == {"face": (4, 2), "body": (6, 2)}
    sum(each.sum() for each in out.values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_an_edge_that_an_explainer_masks_sends_nothing() -> None:
    graph, conv, mask = random_graph(), build(), torch.rand(30)
    weight = conv.connectivity(graph.landmark_id, graph.confidence, graph.edge_index)
    expected = conv(graph.x, graph.edge_index, graph.pos, edge_weight=weight * mask)
    set_masks(conv, nn.Parameter(mask), graph.edge_index, apply_sigmoid=False)
    assert_close(conv(*graph.inputs), expected)


def test_pygs_templates_are_generated() -> None:
    conv = build()
    conv._set_jittable_templates(raise_on_error=True)
    assert type(conv).propagate.__module__.startswith(LGCNConv.__module__)


def test_aggregations_that_cannot_be_used() -> None:
    for options, message in (
        ({"aggr": "max"}, "'aggr' to be 'add' or 'mean' with shape features.*got 'max'"),
        ({"aggr": ["add", "max"]}, r"'aggr' to be 'add' or 'mean' .*got \['add', 'max'\]"),
        ({"aggr": ["add", "max"], "shape_features": False}, r"'aggr' to give as many channels .*'max'\].*mode"),
        ({"aggr": "maximum"}, "'aggr' to be one of PyG's .got 'maximum'"),
    ):
        with pytest.raises(InputError, match=message):
            LGCNConv(3, 4, **options)
