"""PyG's own tools on the layers: batches, subgraphs, explainers, hooks, Sequential, summary."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.explain import Explainer, GNNExplainer
from torch_geometric.explain.algorithm import AttentionExplainer, CaptumExplainer, ExplainerAlgorithm
from torch_geometric.explain.config import ModelConfig
from torch_geometric.nn import Sequential, summary

from lgcn.nn import LGCN, DenseLGCN, LearnableConnectivity, LGCNConv
from tests.nn.inputs import Graph, assert_close, random_graph, random_landmarks, randomize

K, C, NODES = 5, 3, 9
NAMES = "x, edge_index, pos, landmark_id, confidence"


def conv_and_graph() -> tuple[LGCNConv, Graph]:
    return randomize(LGCNConv(C, 4, LearnableConnectivity(K))), random_graph()


def run(module: nn.Module, graph: Graph) -> Tensor:
    return module(*graph.inputs)


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
    "LGCN": lambda channels: LGCN(C, [4, channels], LearnableConnectivity(K)),
}
explained = pytest.mark.parametrize("build", MODELS.values(), ids=list(MODELS))


@explained
def test_gnn_explainer_finds_the_edges_that_reach_a_node(build: Callable[[int], nn.Module]) -> None:
    graph = random_graph()
    # A path from 0 through 1 to 2, and other edges.
    for edges in ([[0, 1], [1, 2], [3, 4], [0, 3]], [[3, 1], [4, 3], [1, 2]]):
        path = graph._replace(edge_index=torch.tensor(edges).t().contiguous())
        model = randomize(build(2))
        before = run(model, path)
        mask = explain(model, path, GNNExplainer(epochs=5), index=2)
        assert mask.shape == (len(edges),)
        reached = {2} if build is not MODELS["LGCN"] else {2, 1}
        assert [bool(each) for each in mask > 0] == [receiver in reached for _, receiver in edges]
        assert_close(run(model, path), before)  # nothing of the explainer stays


@explained
def test_attention_explainer_shows_the_weights_of_edges(build: Callable[[int], nn.Module]) -> None:
    graph = random_graph()
    model = randomize(build(2))
    before = run(model, graph)
    mask = explain(model, graph, AttentionExplainer(), index=3)
    if build is MODELS["LGCNConv-edge_weight"]:
        weight = graph.confidence[graph.edge_index[0]]
    else:
        weight = model.connectivity(graph.landmark_id, graph.confidence, graph.edge_index)
    reached = graph.edge_index[1] == 3
    assert reached.any()
    assert_close(mask[reached], weight[reached])
    # Of the others the explainer keeps some, and none that is not between the nodes that node 3 hears of.
    assert_close(mask[mask != 0], weight[mask != 0])
    assert_close(run(model, graph), before)


@explained
def test_captum_explainer_shares_an_output_among_the_edges(build: Callable[[int], nn.Module]) -> None:
    pytest.importorskip("captum", reason="needs captum")
    graph = random_graph()
    model = randomize(build(1))
    mask = explain(model, graph, CaptumExplainer("IntegratedGradients"), index=3)
    assert mask.shape == (30,)
    alone = run(model, graph._replace(edge_index=torch.empty(2, 0, dtype=torch.long)))
    # Integrated gradients add up to what all edges together change.
    tolerance = 1e-5 if build is not MODELS["LGCN"] else 0.05  # exact where the output is linear in the mask
    torch.testing.assert_close(mask.sum(), (run(model, graph) - alone)[3, 0], rtol=0, atol=tolerance)
    if build is not MODELS["LGCN"]:
        assert torch.equal(mask != 0, graph.edge_index[1] == 3)


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

    dense = DenseLGCN(C, [4, 2], LearnableConnectivity(K))
    model = Sequential("x, pos, confidence", [(dense, "x, pos, confidence -> x"), nn.Tanh()])
    landmarks = random_landmarks(2, K, C)
    assert_close(model(*landmarks), dense(*landmarks).tanh())


HOOKS = ("propagate", "message", "aggregate")


def test_hooks_are_called_in_pygs_order() -> None:
    conv, graph = conv_and_graph()
    plain, called, handles = run(conv, graph), [], []
    for name in HOOKS:
        before, after = (f"register_{name}_forward_{kind}" for kind in ("pre_hook", "hook"))
        handles.append(getattr(conv, before)(lambda module, inputs, name=name: called.append(f"{name}?")))
        handles.append(getattr(conv, after)(lambda module, inputs, out, name=name: called.append(name)))
    handles.append(conv.connectivity.register_forward_hook(lambda module, inputs, out: called.append("connectivity")))
    handles.append(conv.register_forward_pre_hook(lambda module, inputs: called.append("forward?")))
    handles.append(conv.register_forward_hook(lambda module, inputs, out: called.append("forward")))
    assert_close(run(conv, graph), plain)
    messages = ["message?", "message", "aggregate?", "aggregate"]
    assert called == ["forward?", "connectivity", "propagate?", *messages, "propagate", "forward"]
    for handle in handles:
        handle.remove()
    run(conv, graph)
    assert len(called) == 9


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
    handle = conv.connectivity.register_forward_hook(lambda module, inputs, weight: 0 * weight)
    assert_close(run(conv, graph), alone)
    handle.remove()
    conv.register_forward_hook(lambda module, inputs, out: out + 1)
    conv.register_message_forward_pre_hook(lambda module, inputs: ({**inputs[0], "alpha": 0 * inputs[0]["alpha"]},))
    assert_close(run(conv, graph), alone + 1)


def test_summary_of_pyg() -> None:
    pytest.importorskip("tabulate", reason="PyG's summary needs tabulate")
    conv, graph = conv_and_graph()
    count = sum(parameter.numel() for parameter in conv.parameters())
    table = summary(conv, graph.x, graph.edge_index, graph.pos, graph.landmark_id, graph.confidence)
    assert "LGCNConv" in table and "[9, 4]" in table and f"{count:,}" in table
    table = summary(DenseLGCN(C, [4, 2], LearnableConnectivity(K)), *random_landmarks(2, K, C))
    assert "DenseLayer" in table and "[2, 5, 4]" in table
    table = summary(
        LGCN(C, [4, 2], LearnableConnectivity(K)),
        graph.x,
        graph.edge_index,
        graph.pos,
        graph.landmark_id,
        graph.confidence,
    )
    assert "(connectivity)LearnableConnectivity" in table and "[9, 2]" in table
