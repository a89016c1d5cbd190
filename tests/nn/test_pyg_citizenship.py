"""What a layer of PyG's must be able to do, and with it a stack of them."""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_geometric.typing
from torch import Tensor, nn
from torch_geometric import EdgeIndex
from torch_geometric.data import Batch, Data
from torch_geometric.explain import Explainer, GNNExplainer
from torch_geometric.explain.algorithm import AttentionExplainer, CaptumExplainer, ExplainerAlgorithm
from torch_geometric.explain.config import ModelConfig
from torch_geometric.nn import Sequential, summary
from torch_geometric.utils import sort_edge_index

from lgcn.checks import InputError
from lgcn.nn import CONNECTIVITIES, LGCN, DenseLGCNConv, LearnableConnectivity, LGCNConv
from tests.nn.inputs import Graph, assert_close, build_connectivity, random_landmarks, randomize

K, C, NODES = 5, 3, 9
NAMES = "x, edge_index, pos, landmark_id, confidence"


def random_graph() -> Graph:
    """Types repeat, node 8 is isolated, no edge comes twice; edges are in no order."""
    pairs = torch.randperm(8 * 8)[:30]
    nodes = (torch.rand(NODES, C), torch.rand(NODES, 2), torch.rand(NODES))
    return Graph(K, torch.randint(0, K, (NODES,)), torch.stack([pairs // 8, pairs % 8]), *nodes)


def conv_and_graph() -> tuple[LGCNConv, Graph]:
    return randomize(LGCNConv(C, 4, LearnableConnectivity(K))), random_graph()


def run(conv: nn.Module, graph: Graph, edge_index: Any = None) -> Tensor:
    edge_index = graph.edge_index if edge_index is None else edge_index
    return conv(graph.x, edge_index, graph.pos, graph.landmark_id, graph.confidence)


class Stack(nn.Module):
    """An LGCN with the arguments in PyG's order, as explainers pass them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lgcn = LGCN(C, [4, channels], LearnableConnectivity(K))

    def forward(self, x: Tensor, edge_index: Tensor, pos: Tensor, landmark_id: Tensor, confidence: Tensor) -> Tensor:
        return self.lgcn(x, pos, confidence, edge_index, landmark_id)


class Weighted(nn.Module):
    """A layer that is given its edge weights."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = LGCNConv(C, channels)

    def forward(self, x: Tensor, edge_index: Tensor, pos: Tensor, landmark_id: Tensor, confidence: Tensor) -> Tensor:
        return self.conv(x, edge_index, pos, edge_weight=confidence[edge_index[0]])


def explain(model: nn.Module, graph: Graph, algorithm: ExplainerAlgorithm, index: int) -> Tensor:
    """The mask [E] of edges that matter for one node."""
    config = ModelConfig(mode="regression", task_level="node", return_type="raw")
    explainer = Explainer(model, algorithm, "model", config, edge_mask_type="object")
    rest = {"pos": graph.pos, "landmark_id": graph.landmark_id, "confidence": graph.confidence}
    return explainer(graph.x, graph.edge_index, index=index, **rest).edge_mask


MODELS: dict[str, Callable[[int], nn.Module]] = {
    "LGCNConv": lambda channels: LGCNConv(C, channels, LearnableConnectivity(K)),
    "LGCNConv-edge_weight": Weighted,
    "LGCN": Stack,
}
explained = pytest.mark.parametrize("build", MODELS.values(), ids=list(MODELS))


@explained
def test_gnn_explainer_finds_the_edges_that_a_node_listens_to(build: Callable[[int], nn.Module]) -> None:
    graph = random_graph()
    # From 0 through 1 to 2, and edges beside that path.
    for edges in ([[0, 1], [1, 2], [3, 4], [0, 3]], [[3, 1], [4, 3], [1, 2]]):
        path = graph._replace(edge_index=torch.tensor(edges).t().contiguous())
        model = randomize(build(2))
        before = run(model, path)
        mask = explain(model, path, GNNExplainer(epochs=5), index=2)
        assert mask.shape == (len(edges),)
        reached = {2} if build is not Stack else {2, 1}
        assert [bool(each) for each in mask > 0] == [receiver in reached for _, receiver in edges]
        assert torch.equal(run(model, path), before)  # nothing of the explainer stays


@explained
def test_attention_explainer_shows_the_weights_of_edges(build: Callable[[int], nn.Module]) -> None:
    graph = random_graph()
    model = randomize(build(2))
    before = run(model, graph)
    mask = explain(model, graph, AttentionExplainer(), index=3)
    if build is MODELS["LGCNConv-edge_weight"]:
        weight = graph.confidence[graph.edge_index[0]]
    else:
        layer = model.lgcn if build is Stack else model
        weight = layer.connectivity(graph.landmark_id, graph.confidence, graph.edge_index)
    reached = graph.edge_index[1] == 3
    assert reached.any()
    assert_close(mask[reached], weight[reached])
    # Of the others the explainer keeps some, and none that is not between the nodes that node 3 hears of.
    assert_close(mask[mask != 0], weight[mask != 0])
    assert torch.equal(run(model, graph), before)


@explained
def test_captum_explainer_shares_an_output_among_the_edges(build: Callable[[int], nn.Module]) -> None:
    pytest.importorskip("captum", reason="needs captum")
    graph = random_graph()
    model = randomize(build(1))
    mask = explain(model, graph, CaptumExplainer("IntegratedGradients"), index=3)
    assert mask.shape == (30,)
    alone = run(model, graph, torch.empty(2, 0, dtype=torch.long))
    # Integrated gradients add up to what all edges together change.
    tolerance = 1e-5 if build is not Stack else 0.05  # exact where the output is linear in the mask
    torch.testing.assert_close(mask.sum(), (run(model, graph) - alone)[3, 0], rtol=0, atol=tolerance)
    if build is not Stack:
        assert torch.equal(mask != 0, graph.edge_index[1] == 3)


@pytest.mark.parametrize("order", [None, "row", "col"])
@pytest.mark.parametrize("build", [MODELS["LGCNConv"], Stack, lambda channels: Stack(channels).lgcn.frozen()])
def test_edge_index_of_pyg(build: Callable[[int], nn.Module], order: str | None) -> None:
    graph = random_graph()
    model = randomize(build(2))
    edge_index = EdgeIndex(graph.edge_index, sparse_size=(NODES, NODES))
    edge_index = edge_index if order is None else edge_index.sort_by(order).values
    if isinstance(model, LGCN):
        rest = (graph.landmark_id,)
        nodes = (graph.x, graph.pos, graph.confidence)
        assert_close(model(*nodes, edge_index, *rest), model(*nodes, graph.edge_index, *rest))
    else:
        assert_close(run(model, graph, edge_index), run(model, graph))


def test_undirected_edge_index_and_its_weights() -> None:
    conv, graph = conv_and_graph()
    both = torch.cat([graph.edge_index, graph.edge_index.flip(0)], dim=1).unique(dim=1).contiguous()
    undirected = EdgeIndex(both, sparse_size=(NODES, NODES), is_undirected=True).sort_by("row").values
    out, (edge_index, weight) = conv(
        graph.x, undirected, graph.pos, graph.landmark_id, graph.confidence, return_connectivity=True
    )
    assert edge_index is undirected
    assert_close(out, run(conv, graph, both))
    assert_close(weight, conv.connectivity(graph.landmark_id, graph.confidence, undirected.as_tensor()))
    assert_close(conv(graph.x, undirected, graph.pos, edge_weight=weight), out)


def as_adjacency(edge_index: Tensor, layout: torch.layout) -> Tensor:
    """The transposed adjacency matrix, row i receiving, as PyG wants it."""
    values = torch.ones(edge_index.shape[1])
    return torch.sparse_coo_tensor(edge_index.flip(0), values, (NODES, NODES)).coalesce().to_sparse(layout=layout)


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_transposed_sparse_matrices_of_torch(layout: torch.layout) -> None:
    conv, graph = conv_and_graph()
    adjacency = as_adjacency(graph.edge_index, layout)
    assert_close(run(conv, graph, adjacency), run(conv, graph))
    # Weights stand in the order of the matrix: by receiving node, then by neighbour.
    in_order = sort_edge_index(graph.edge_index, sort_by_row=False)
    weight = conv.connectivity(graph.landmark_id, graph.confidence, in_order)
    assert_close(conv(graph.x, adjacency, graph.pos, edge_weight=weight), run(conv, graph))
    there = torch.arange(NODES) != 2
    rest = (graph.pos, graph.landmark_id, graph.confidence, None, there)
    assert_close(conv(graph.x, adjacency, *rest), conv(graph.x, graph.edge_index, *rest))
    # Weights that are given count as little where a node is missing.
    given = {"edge_weight": weight, "mask": there}
    assert_close(conv(graph.x, adjacency, graph.pos, **given), conv(graph.x, in_order, graph.pos, **given))


def test_layouts_that_cannot_be_used_are_named() -> None:
    conv, graph = conv_and_graph()
    # PyG's own words: no layer of its takes the columns first.
    with pytest.raises(ValueError, match=r"invalid layout 'torch.sparse_csc'"):
        run(conv, graph, as_adjacency(graph.edge_index, torch.sparse_csc))
    entries = torch.ones(graph.edge_index.shape[1])
    adjacency = torch.sparse_coo_tensor(graph.edge_index.flip(0), entries, (NODES, NODES))
    for given in ({"landmark_id": graph.landmark_id, "confidence": graph.confidence}, {"edge_weight": entries}):
        with pytest.raises(InputError, match="'edge_index' to be coalesced .*Use .coalesce"):
            conv(graph.x, adjacency, graph.pos, **given)
        assert not adjacency.is_coalesced()
    # One list of edges serves the connectivity and all layers.
    with pytest.raises(ValueError, match="'edge_index' to have shape .2, E."):
        run(Stack(2), graph, as_adjacency(graph.edge_index, torch.sparse_csr))


def test_sparse_tensor_of_torch_sparse() -> None:
    torch_sparse = pytest.importorskip("torch_sparse", reason="needs torch-sparse")
    conv, graph = conv_and_graph()
    neighbour, receiver = graph.edge_index
    adjacency = torch_sparse.SparseTensor(row=receiver, col=neighbour, sparse_sizes=(NODES, NODES))
    assert_close(run(conv, graph, adjacency), run(conv, graph))


@pytest.mark.parametrize("deterministic", [False, True])
def test_torch_scatter_changes_no_result(monkeypatch: pytest.MonkeyPatch, deterministic: bool) -> None:
    torch_scatter = pytest.importorskip("torch_scatter", reason="needs torch-scatter, an extra")
    conv, graph = conv_and_graph()
    edge_index = EdgeIndex(graph.edge_index, sparse_size=(NODES, NODES)).sort_by("col").values
    # As of a layer built under torch.use_deterministic_algorithms; on a CPU PyG asks torch-scatter in no other case.
    conv.aggr_module._deterministic = deterministic
    results, calls = {}, []
    segment_csr = torch_scatter.segment_csr
    monkeypatch.setattr(torch_scatter, "segment_csr", lambda *args, **kw: calls.append(kw) or segment_csr(*args, **kw))
    for present in (True, False):
        monkeypatch.setattr(torch_geometric.typing, "WITH_TORCH_SCATTER", present)
        out = run(conv, graph, edge_index)
        results[present] = (out, *torch.autograd.grad(out.square().sum(), list(conv.parameters())))
        assert bool(calls) == (present and deterministic)
        calls.clear()
    for one, other in zip(results[True], results[False], strict=True):
        assert_close(one, other)
    assert_close(results[True][0], run(conv, graph))


@pytest.mark.parametrize("given", [False, True])
def test_a_batch_of_unequal_graphs_equals_a_loop(given: bool) -> None:
    model: nn.Module = randomize(Weighted(2) if given else LGCNConv(C, 2, LearnableConnectivity(K)))
    graphs = []
    for nodes in (1, 4, NODES):
        graph = random_graph()
        data = Data(graph.x, graph.edge_index, pos=graph.pos, landmark_id=graph.landmark_id)
        data.confidence = graph.confidence
        graphs.append(data.subgraph(torch.arange(nodes)))
    batch = Batch.from_data_list(graphs)
    loop = [model(each.x, each.edge_index, each.pos, each.landmark_id, each.confidence) for each in graphs]
    assert_close(model(batch.x, batch.edge_index, batch.pos, batch.landmark_id, batch.confidence), torch.cat(loop))


def test_a_subgraph_with_dropped_nodes_weighs_the_rest() -> None:
    conv, graph = conv_and_graph()
    there = torch.tensor([True, True, False, True, True, False, True, True, True])
    data = Data(graph.x, graph.edge_index, pos=graph.pos, landmark_id=graph.landmark_id, confidence=graph.confidence)
    rest = data.subgraph(there)
    out, (edge_index, weight) = conv(
        rest.x, rest.edge_index, rest.pos, rest.landmark_id, rest.confidence, return_connectivity=True
    )
    total = torch.zeros(len(out)).index_add(0, edge_index[1], weight)
    assert_close(total[edge_index[1].unique()], torch.ones(len(edge_index[1].unique())))
    hidden = graph._replace(x=graph.x.masked_fill(~there[:, None], torch.nan))
    masked = conv(hidden.x, graph.edge_index, graph.pos, graph.landmark_id, graph.confidence, mask=there)
    assert_close(masked[there], out)


def test_sequential_of_layers_and_of_stacks() -> None:
    graph = random_graph()
    layers = [LGCNConv(C, 4, LearnableConnectivity(K)), nn.ReLU(), LGCNConv(4, 2, LearnableConnectivity(K))]
    model = Sequential(NAMES, [(layers[0], f"{NAMES} -> x"), layers[1], (layers[2], f"{NAMES} -> x")])
    expected = run(layers[2], graph._replace(x=run(layers[0], graph).relu()))
    assert_close(run(model, graph), expected)

    dense = LGCN(C, [4, 2], LearnableConnectivity(K), dense=True)
    model = Sequential("x, pos, confidence", [(dense, "x, pos, confidence -> x"), nn.Tanh()])
    landmarks = random_landmarks(2, K, C)
    assert_close(model(*landmarks), dense(*landmarks).tanh())


HOOKS = ("propagate", "message", "aggregate", "edge_update")


def test_hooks_are_called_in_pygs_order() -> None:
    conv, graph = conv_and_graph()
    plain, called, handles = run(conv, graph), [], []
    for name in HOOKS:
        before, after = (f"register_{name}_forward_{kind}" for kind in ("pre_hook", "hook"))
        handles.append(getattr(conv, before)(lambda module, inputs, name=name: called.append(f"{name}?")))
        handles.append(getattr(conv, after)(lambda module, inputs, out, name=name: called.append(name)))
    handles.append(conv.register_forward_pre_hook(lambda module, inputs: called.append("forward?")))
    handles.append(conv.register_forward_hook(lambda module, inputs, out: called.append("forward")))
    assert_close(run(conv, graph), plain)
    edges, messages = ["edge_update?", "edge_update"], ["message?", "message", "aggregate?", "aggregate"]
    assert called == ["forward?", *edges, "propagate?", *messages, "propagate", "forward"]
    for handle in handles:
        handle.remove()
    run(conv, graph)
    assert len(called) == 10


def test_hooks_may_change_messages_and_weights() -> None:
    conv, graph = conv_and_graph()
    alone = conv.lin_self(graph.x)
    handle = conv.register_message_forward_hook(lambda module, inputs, message: 0 * message)
    assert_close(run(conv, graph), alone)
    handle.remove()
    handle = conv.register_aggregate_forward_hook(lambda module, inputs, out: 2 * out)
    doubled = run(conv, graph)
    handle.remove()
    assert_close(doubled - alone, 2 * (run(conv, graph) - alone))
    handle = conv.register_edge_update_forward_hook(lambda module, inputs, weight: 0 * weight)
    assert_close(run(conv, graph), alone)
    handle.remove()
    conv.register_forward_hook(lambda module, inputs, out: out + 1)
    conv.register_message_forward_pre_hook(lambda module, inputs: ({**inputs[0], "x_j": 0 * inputs[0]["x_j"]},))
    assert_close(run(conv, graph), alone + 1)


@pytest.mark.parametrize("name", CONNECTIVITIES.names())
def test_states_pass_between_sparse_and_dense_and_back(name: str) -> None:
    def build(kind: type[LGCNConv] | type[DenseLGCNConv] | bool) -> nn.Module:
        connectivity = build_connectivity(name, K)
        if isinstance(kind, bool):
            return LGCN(C, [4, 2], connectivity, norm="batch_norm", dense=kind)
        return kind(C, 4, connectivity)

    for first, second in ((LGCNConv, DenseLGCNConv), (False, True)):
        source, twin, back = randomize(build(first)), build(second), build(first)
        twin.load_state_dict(source.state_dict())
        buffer = io.BytesIO()
        torch.save(twin.state_dict(), buffer)
        buffer.seek(0)
        back.load_state_dict(torch.load(buffer, weights_only=True))
        for key, value in source.state_dict().items():
            assert torch.equal(back.state_dict()[key], value)


def dense_inputs() -> tuple[Tensor, ...]:
    return tuple(random_landmarks(2, K, C))


def sparse_inputs() -> tuple[Tensor, ...]:
    graph = random_graph()
    return graph.x, graph.pos, graph.confidence, graph.edge_index, graph.landmark_id


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("name", CONNECTIVITIES.names())
def test_copies_of_a_stack_in_use(name: str, dense: bool, frozen: bool) -> None:
    lgcn = randomize(LGCN(C, [4, 2], build_connectivity(name, K), norm="batch_norm", dropout=0.5, dense=dense)).eval()
    lgcn = lgcn.frozen() if frozen else lgcn
    inputs = dense_inputs() if dense else sparse_inputs()
    with torch.no_grad():
        expected = lgcn(*inputs)  # which may leave something behind that a copy must not trip over
        buffer = io.BytesIO()
        torch.save(lgcn, buffer)
        buffer.seek(0)
        copies = [copy.deepcopy(lgcn), pickle.loads(pickle.dumps(lgcn)), torch.load(buffer, weights_only=False)]
        for other in copies:
            assert not other.training
            assert torch.equal(other(*inputs), expected)
            for parameter in other.parameters():
                assert parameter.requires_grad != frozen
                parameter.zero_()
        assert torch.equal(lgcn(*inputs), expected)


@pytest.mark.parametrize("build", [*MODELS.values(), lambda c: DenseLGCNConv(C, c, LearnableConnectivity(K))])
def test_parameters_are_drawn_anew_and_alike_under_a_seed(build: Callable[[int], nn.Module]) -> None:
    module = build(2)
    layer = module if hasattr(module, "reset_parameters") else next(module.children())
    states = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        layer.reset_parameters()
        states.append(copy.deepcopy(layer.state_dict()))
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key])
        assert not torch.equal(value, states[2][key])


def test_repr_says_what_the_layer_is() -> None:
    connectivity = build_connectivity("adjacency", K, normalization="raw", symmetric=True)
    inside = "connectivity=AdjacencyConnectivity(5, normalization='raw', symmetric=True), shape_features=False"
    assert repr(LGCNConv(C, 2, connectivity, shape_features=False)) == f"LGCNConv(3, 2, {inside})"
    assert repr(DenseLGCNConv(C, 2, connectivity, shape_features=False)) == f"DenseLGCNConv(3, 2, {inside})"
    lgcn = LGCN(C, [4, 2], LearnableConnectivity(K), norm="layer_norm", dropout=0.1)
    for part in ("LearnableConnectivity(5)", "LayerNorm((4,)", "Dropout(p=0.1", "LGCNConv(4, 2, connectivity=None"):
        assert part in repr(lgcn)
        assert part in repr(lgcn.frozen())


def test_summary_of_pyg() -> None:
    pytest.importorskip("tabulate", reason="PyG's summary needs tabulate")
    conv, graph = conv_and_graph()
    count = sum(parameter.numel() for parameter in conv.parameters())
    table = summary(conv, graph.x, graph.edge_index, graph.pos, graph.landmark_id, graph.confidence)
    assert "LGCNConv" in table and "[9, 4]" in table and f"{count:,}" in table
    table = summary(LGCN(C, [4, 2], LearnableConnectivity(K), dense=True), *dense_inputs())
    assert "DenseLGCNConv" in table and "[2, 5, 4]" in table
    table = summary(Stack(2), graph.x, graph.edge_index, graph.pos, graph.landmark_id, graph.confidence)
    assert "(connectivity)LearnableConnectivity" in table and "[9, 2]" in table
