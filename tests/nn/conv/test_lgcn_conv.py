import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor
from torch_geometric.explain.algorithm.utils import set_masks
from torch_geometric.nn import MeanAggregation, Sequential, SumAggregation

from lgcn.checks import InputError
from lgcn.graph import complete_edge_index
from lgcn.nn import AdjacencyConnectivity, LearnableConnectivity, LGCNConv
from lgcn.nn.conv.lgcn_conv import graph_centres
from tests.nn.inputs import (
    Graph,
    Landmarks,
    assert_close,
    assert_same_gradients,
    graphs,
    literal_of,
    random_landmarks,
    randomize,
)
from tests.nn.literal import LiteralLGCNConv


def random_graph(dtype: torch.dtype = torch.float32) -> Graph:
    """Nine nodes of five types, node 8 isolated."""
    drawn = torch.rand(9, 6, dtype=dtype)
    return Graph(5, torch.randint(0, 5, (9,)), torch.randint(0, 8, (2, 30)), drawn[:, :3], drawn[:, 3:5], drawn[:, 5])


def run(conv: LGCNConv, graph: Graph) -> Tensor:
    return conv(graph.x, graph.edge_index, graph.pos, graph.landmark_id, graph.confidence)


def test_size_and_repr() -> None:
    graph = random_graph()
    conv = LGCNConv(3, 4, LearnableConnectivity(5))
    assert str(conv) == "LGCNConv(3, 4, connectivity=LearnableConnectivity(5), shape_features=True)"
    assert run(conv, graph).shape == (9, 4)
    out, (edge_index, weight) = conv(
        graph.x, graph.edge_index, graph.pos, graph.landmark_id, graph.confidence, return_connectivity=True
    )
    assert_close(out, run(conv, graph))
    assert edge_index is graph.edge_index
    assert_close(weight, conv.connectivity(graph.landmark_id, graph.confidence, graph.edge_index))

    conv = LGCNConv(3, 4, shape_features=False, bias=False)
    assert str(conv) == "LGCNConv(3, 4, connectivity=None, shape_features=False)"
    assert {name: tuple(p.shape) for name, p in conv.named_parameters()} == {
        "lin_self.weight": (4, 3),
        "lin_neighbor.weight": (4, 3),
    }
    assert conv(graph.x, graph.edge_index, edge_weight=weight.detach()).shape == (9, 4)


def test_bad_input() -> None:
    graph = random_graph()
    conv = LGCNConv(3, 4, LearnableConnectivity(5))
    rest = (graph.landmark_id, graph.confidence)
    with pytest.raises(InputError, match=r"'x' to have shape \[..., N, C\] with C=3 \(got \[9, 2\]\)"):
        conv(graph.x[:, :2], graph.edge_index, graph.pos, *rest)
    with pytest.raises(InputError, match=r"'pos' \[N, 2\] for shape features .*shape_features=False"):
        conv(graph.x, graph.edge_index, None, *rest)
    with pytest.raises(InputError, match=r"'pos' to have shape \[..., N, 2\] with N=9 \(got \[9, 3\]\)"):
        conv(graph.x, graph.edge_index, torch.rand(9, 3), *rest)
    with pytest.raises(InputError, match=r"'landmark_id' to have shape \[N\] with N=9 \(got \[8\]\)"):
        conv(graph.x, graph.edge_index, graph.pos, graph.landmark_id[:8], graph.confidence)
    with pytest.raises(InputError, match=r"'confidence' to have shape \[..., N\] with N=9 \(got \[8\]\)"):
        conv(graph.x, graph.edge_index, graph.pos, graph.landmark_id, graph.confidence[:8])
    with pytest.raises(InputError, match=r"'landmark_id' \[N\] and 'confidence' \[N\], or 'edge_weight'"):
        conv(graph.x, graph.edge_index, graph.pos)
    with pytest.raises(InputError, match=r"'edge_weight' \[E\] for a layer without a connectivity"):
        LGCNConv(3, 4)(graph.x, graph.edge_index, graph.pos, *rest)
    with pytest.raises(InputError, match="'aggr' to be 'add' or 'mean' with shape features.*got 'max'"):
        LGCNConv(3, 4, aggr="max")
    with pytest.raises(InputError, match=r"'aggr' to be 'add' or 'mean' .*got \['add', 'max'\]"):
        LGCNConv(3, 4, aggr=["add", "max"])
    with pytest.raises(InputError, match=r"'aggr' to give as many channels .*got \['add', 'max'\].*mode"):
        LGCNConv(3, 4, aggr=["add", "max"], shape_features=False)
    with pytest.raises(InputError, match="'aggr' to be one of PyG's .got 'maximum'"):
        LGCNConv(3, 4, aggr="maximum")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", [{}, {"shape_features": False}, {"bias": False}])
def test_equals_the_literal_transcription(options: dict[str, bool], dtype: torch.dtype) -> None:
    graph = random_graph(dtype)
    conv = randomize(LGCNConv(3, 4, LearnableConnectivity(5), **options)).to(dtype)
    literal = literal_of(conv)
    out = run(conv, graph)
    expected = literal(graph.x, graph.pos, graph.confidence, graph.edge_index, graph.landmark_id)
    assert_close(out, expected)

    target = torch.randn_like(expected)
    for prediction in (out, expected):
        (prediction - target).square().mean().backward()
    assert_same_gradients(conv, literal)


@settings(max_examples=25, deadline=None)
@given(graph=graphs())
def test_any_graph(graph: Graph) -> None:
    torch.manual_seed(0)  # an example that fails must fail again
    conv = randomize(LGCNConv(3, 2, LearnableConnectivity(graph.num_landmarks))).double()
    out = run(conv, graph)
    literal = literal_of(conv)
    assert_close(out, literal(graph.x, graph.pos, graph.confidence, graph.edge_index, graph.landmark_id))

    edge_order = torch.randperm(graph.edge_index.shape[1])
    assert_close(run(conv, graph._replace(edge_index=graph.edge_index[:, edge_order])), out)

    order = torch.randperm(graph.landmark_id.shape[0])
    assert_close(run(conv, graph.permuted(order)), out[order])

    moved = run(conv, graph._replace(pos=graph.pos + torch.tensor([3.0, -5.0])))
    assert_close(moved, out)  # q_ij does not know where the face is


def far(landmarks: Landmarks, *offsets: float) -> Landmarks:
    """Faces of 50 pixels, image by image at another place."""
    return landmarks._replace(pos=50 * landmarks.pos + torch.tensor(offsets).view(-1, 1, 1))


@pytest.mark.parametrize("offsets", [(1000.0, 1000.0, 1000.0), (0.0, 7000.0, -900.0)])
def test_graphs_of_a_batch_may_lie_anywhere(offsets: tuple[float, ...]) -> None:
    batch = far(random_landmarks(3, 20, 4), *offsets).graph()
    conv = randomize(LGCNConv(4, 8, LearnableConnectivity(20)))
    nodes = (batch.x, batch.edge_index, batch.pos, batch.landmark_id, batch.confidence)
    exact = copy.deepcopy(conv).double()(*(each.double() if each.is_floating_point() else each for each in nodes))
    assert_close(conv(*nodes), exact.float())
    conv.register_message_forward_hook(lambda module, inputs, out: None)  # by messages instead of a sparse product
    assert_close(conv(*nodes), exact.float())


def test_a_centre_is_that_of_a_graph_and_of_the_nodes_that_are_there() -> None:
    pos = torch.rand(2, 7, 2, dtype=torch.float64)
    # 0-1-2 in no order, 3 alone, 4 with a loop, 5-6.
    edge_index = torch.tensor([[2, 0, 4, 6, 1], [0, 2, 4, 5, 2]])
    there = torch.tensor([[True, True, False, True, True, False, False], [True] * 7])
    centres = graph_centres(pos.masked_fill(~there.unsqueeze(-1), 0.0), edge_index, there)
    assert_close(centres[0, :3], pos[0, :2].mean(dim=0).expand(3, 2))
    assert torch.equal(centres[0, 3:5], pos[0, 3:5])
    assert centres[0, 5:].eq(0).all()
    assert_close(centres[1, 5:], pos[1, 5:].mean(dim=0).expand(2, 2))
    assert_close(graph_centres(pos, edge_index)[1], centres[1])
    assert torch.equal(graph_centres(pos[0], edge_index[:, :0]), pos[0])
    assert graph_centres(pos[:, :0], edge_index[:, :0]).shape == (2, 0, 2)
    assert_close(graph_centres(pos, edge_index, there[1]), graph_centres(pos, edge_index))
    for dtype in (torch.float16, torch.bfloat16):
        many = torch.full((3000, 2), 1000.0, dtype=dtype)
        line = torch.stack([torch.arange(2999), torch.arange(1, 3000)])
        assert torch.equal(graph_centres(many, line), many)


def test_batch_equals_loop_equals_shared_edge_list() -> None:
    landmarks = random_landmarks(3, 5, 4, torch.float64)
    conv = randomize(LGCNConv(4, 2, LearnableConnectivity(5))).double()
    edge_index, landmark_id = complete_edge_index(5), torch.arange(5)
    loop = torch.stack(
        [conv(x, edge_index, pos, landmark_id, confidence) for x, pos, confidence in zip(*landmarks, strict=True)]
    )
    batch = landmarks.graph()
    block_diagonal = conv(batch.x, batch.edge_index, batch.pos, batch.landmark_id, batch.confidence)
    assert_close(block_diagonal.view(3, 5, 2), loop)
    shared = conv(landmarks.x, edge_index, landmarks.pos, landmark_id, landmarks.confidence)
    assert_close(shared, loop)
    still = conv(landmarks.x, edge_index, landmarks.pos[0], landmark_id, landmarks.confidence[0])
    assert_close(still[0], loop[0])


def test_shared_edge_list_with_weights_that_no_image_changes() -> None:
    landmarks = random_landmarks(3, 5, 4)
    conv = randomize(LGCNConv(4, 2, AdjacencyConnectivity(5)))
    edge_index, landmark_id = complete_edge_index(5), torch.arange(5)
    shared = conv(landmarks.x, edge_index, landmarks.pos, landmark_id, landmarks.confidence)
    alone = conv(landmarks.x[1], edge_index, landmarks.pos[1], landmark_id, landmarks.confidence[1])
    assert_close(shared[1], alone)


def test_isolated_node_keeps_only_itself() -> None:
    graph = random_graph()
    conv = randomize(LGCNConv(3, 4, LearnableConnectivity(5)))
    assert_close(run(conv, graph)[8], conv.lin_self(graph.x[8]))


def test_without_edges() -> None:
    graph = random_graph()._replace(edge_index=torch.empty(2, 0, dtype=torch.long))
    conv = randomize(LGCNConv(3, 4, LearnableConnectivity(5)))
    assert_close(run(conv, graph), conv.lin_self(graph.x))


def test_flow_from_target_to_source() -> None:
    graph = random_graph()
    conv = randomize(LGCNConv(3, 4, LearnableConnectivity(5)))
    backward = LGCNConv(3, 4, LearnableConnectivity(5), flow="target_to_source")
    backward.load_state_dict(conv.state_dict())
    assert_close(run(backward, graph._replace(edge_index=graph.edge_index.flip(0))), run(conv, graph))


def test_mean_over_the_neighbours() -> None:
    graph = random_graph()
    weight = torch.rand(graph.edge_index.shape[1])
    conv = randomize(LGCNConv(3, 4, aggr="mean"))
    literal = LiteralLGCNConv(3, 4)
    literal.load_state_dict(conv.state_dict())
    degree = torch.zeros(9).index_add(0, graph.edge_index[1], torch.ones_like(weight)).clamp(min=1)
    expected = literal(graph.x, graph.pos, graph.edge_index, weight / degree[graph.edge_index[1]])
    assert_close(conv(graph.x, graph.edge_index, graph.pos, edge_weight=weight), expected)


def test_aggregations_are_given_by_name_or_as_modules() -> None:
    graph = random_graph()
    for name, module in (("add", SumAggregation()), ("mean", MeanAggregation())):
        conv = randomize(LGCNConv(3, 4, LearnableConnectivity(5), aggr=name))
        other = LGCNConv(3, 4, LearnableConnectivity(5), aggr=module)
        other.load_state_dict(conv.state_dict())
        assert_close(run(other, graph), run(conv, graph))
    several = LGCNConv(3, 4, LearnableConnectivity(5), False, aggr=["add", "max"], aggr_kwargs={"mode": "sum"})
    assert run(several, graph).shape == (9, 4)


def test_the_weights_need_not_sum_to_1() -> None:
    graph = random_graph(torch.float64)
    weight = torch.randn(graph.edge_index.shape[1], dtype=torch.float64)
    conv = randomize(LGCNConv(3, 4)).double()
    literal = LiteralLGCNConv(3, 4).double()
    literal.load_state_dict(conv.state_dict())
    expected = literal(graph.x, graph.pos, graph.edge_index, weight)
    assert_close(conv(graph.x, graph.edge_index, graph.pos, edge_weight=weight), expected)


def test_an_edge_that_an_explainer_masks_sends_nothing() -> None:
    graph = random_graph()
    conv = randomize(LGCNConv(3, 4, LearnableConnectivity(5)))
    weight = conv.connectivity(graph.landmark_id, graph.confidence, graph.edge_index)
    mask = torch.rand(graph.edge_index.shape[1])
    expected = conv(graph.x, graph.edge_index, graph.pos, edge_weight=weight * mask)
    set_masks(conv, torch.nn.Parameter(mask), graph.edge_index, apply_sigmoid=False)
    assert_close(run(conv, graph), expected)


def test_propagate_and_edge_updater_are_generated() -> None:
    conv = LGCNConv(3, 4, LearnableConnectivity(5))
    assert type(conv).propagate.__module__.startswith(LGCNConv.__module__)
    assert type(conv).edge_updater.__module__.startswith(LGCNConv.__module__)


def test_in_a_pyg_sequential() -> None:
    graph = random_graph()
    names = "x, edge_index, pos, landmark_id, confidence"
    model = Sequential(
        names,
        [
            (LGCNConv(3, 4, LearnableConnectivity(5)), f"{names} -> x"),
            (LGCNConv(4, 2, LearnableConnectivity(5)), f"{names} -> x"),
        ],
    )
    assert model(graph.x, graph.edge_index, graph.pos, graph.landmark_id, graph.confidence).shape == (9, 2)


def test_gradcheck() -> None:
    graph = random_graph(torch.float64)
    conv = randomize(LGCNConv(3, 2, LearnableConnectivity(5, 4, 4, 4))).double()
    names = [name for name, _ in conv.named_parameters()]

    def layer(x: Tensor, pos: Tensor, confidence: Tensor, *parameters: Tensor) -> Tensor:
        arguments = (x, graph.edge_index, pos, graph.landmark_id, confidence)
        return torch.func.functional_call(conv, dict(zip(names, parameters, strict=True)), arguments)

    inputs = [tensor.clone().requires_grad_() for tensor in (graph.x, graph.pos, graph.confidence)]
    assert torch.autograd.gradcheck(layer, (*inputs, *conv.parameters()), fast_mode=True)


def test_reset_parameters_is_reproducible() -> None:
    conv = LGCNConv(3, 4, LearnableConnectivity(5))
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        conv.reset_parameters()
        states.append(copy.deepcopy(conv.state_dict()))
    torch.manual_seed(4)
    conv.reset_parameters()
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key])
        assert not torch.equal(value, conv.state_dict()[key])


def test_copies() -> None:
    graph = random_graph()
    conv = randomize(LGCNConv(3, 4, LearnableConnectivity(5)))
    loaded = LGCNConv(3, 4, LearnableConnectivity(5))
    loaded.load_state_dict(conv.state_dict())
    for other in (loaded, copy.deepcopy(conv), pickle.loads(pickle.dumps(conv))):
        assert torch.equal(run(other, graph), run(conv, graph))


def test_compiles_in_one_graph_for_any_number_of_edges() -> None:
    conv = randomize(LGCNConv(3, 4, LearnableConnectivity(5)))
    compiled = torch.compile(conv, fullgraph=True, dynamic=True, backend="aot_eager")
    graph = random_graph()
    for edges in (30, 17):
        some = graph._replace(edge_index=graph.edge_index[:, :edges])
        assert_close(run(compiled, some), run(conv, some))
