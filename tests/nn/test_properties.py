"""What holds for stacks of layers on any graph, with every connectivity; a new one in the registry is tested too."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.utils import subgraph

from lgcn.nn import LGCN, DenseLGCNConv, LGCNConv
from tests.nn.connectivity.test_base import CASES, build, named
from tests.nn.inputs import Graph, Landmarks, assert_close, graphs, random_landmarks, randomize

C = 3
Case = tuple[str, dict[str, Any]]
every_connectivity = pytest.mark.parametrize("case", CASES, ids=named)
# Together with the connectivities these are some hundred graphs a property.
some = settings(max_examples=8, deadline=None)


def stack(case: Case, landmarks: int, dense: bool = False, **options: Any) -> LGCN:
    torch.manual_seed(0)  # an example that fails must fail again
    return randomize(LGCN(C, (4, 2), build(case, landmarks), dense=dense, **options)).double().eval()


def run(lgcn: LGCN, graph: Graph, mask: Tensor | None = None) -> Tensor:
    return lgcn(graph.x, graph.pos, graph.confidence, graph.edge_index, graph.landmark_id, mask)


def without(graph: Graph, mask: Tensor) -> Graph:
    """The graph of the nodes that are there."""
    edge_index, _ = subgraph(mask, graph.edge_index, relabel_nodes=True, num_nodes=len(mask))
    nodes = (tensor[mask] for tensor in (graph.x, graph.pos, graph.confidence))
    return Graph(graph.num_landmarks, graph.landmark_id[mask], edge_index, *nodes)


def booleans(count: int) -> st.SearchStrategy[Tensor]:
    return st.lists(st.booleans(), min_size=count, max_size=count).map(lambda each: torch.tensor(each))


def orders(count: int) -> st.SearchStrategy[Tensor]:
    return st.permutations(range(count)).map(lambda each: torch.tensor(each, dtype=torch.long))


def unread(there: Tensor, tensor: Tensor) -> Tensor:
    """NaN wherever no node is."""
    return tensor.masked_fill(~there.view(there.shape + (1,) * (tensor.dim() - there.dim())), torch.nan)


@every_connectivity
@some
@given(graph=graphs(C), data=st.data())
def test_nodes_that_change_places_with_their_types_take_their_output_along(
    case: Case, graph: Graph, data: st.DataObject
) -> None:
    order = data.draw(orders(len(graph.x)))
    lgcn = stack(case, graph.num_landmarks)
    assert_close(run(lgcn, graph.permuted(order)), run(lgcn, graph)[order])


@every_connectivity
@some
@given(graph=graphs(C), data=st.data())
def test_the_order_of_edges_never_matters(case: Case, graph: Graph, data: st.DataObject) -> None:
    order = data.draw(orders(graph.edge_index.shape[1]))
    lgcn = stack(case, graph.num_landmarks)
    assert_close(run(lgcn, graph._replace(edge_index=graph.edge_index[:, order])), run(lgcn, graph))


@every_connectivity
@some
@given(many=st.lists(graphs(C), min_size=1, max_size=4))
def test_a_batch_of_graphs_equals_a_loop_over_them(case: Case, many: list[Graph]) -> None:
    lgcn = stack(case, 5)  # the most that `graphs` draws
    nodes = ({name: each for name, each in graph._asdict().items() if name != "num_landmarks"} for graph in many)
    batch = Batch.from_data_list([Data(**each) for each in nodes])
    together = lgcn(batch.x, batch.pos, batch.confidence, batch.edge_index, batch.landmark_id)
    assert_close(together, torch.cat([run(lgcn, each) for each in many]))


@every_connectivity
@some
@given(graph=graphs(C), data=st.data())
def test_masking_nodes_equals_dropping_them_and_nothing_is_read_there(
    case: Case, graph: Graph, data: st.DataObject
) -> None:
    there = data.draw(booleans(len(graph.x)))
    lgcn = stack(case, graph.num_landmarks, norm="layer_norm")
    hidden = graph._replace(
        x=unread(there, graph.x), pos=unread(there, graph.pos), confidence=unread(there, graph.confidence)
    )
    masked = run(lgcn, hidden, there)
    assert masked[~there].eq(0).all()
    if there.any():
        assert_close(masked[there], run(lgcn, without(graph, there)))


@every_connectivity
@some
@given(images=st.integers(1, 3), data=st.data())
def test_dense_masking_equals_dropping_and_nothing_is_read_there(case: Case, images: int, data: st.DataObject) -> None:
    K = 5
    there = data.draw(booleans(images * K)).view(images, K)
    dense = stack(case, K, dense=True)
    landmarks = random_landmarks(images, K, C, torch.float64)
    masked = dense(*(unread(there, tensor) for tensor in landmarks), mask=there)
    assert masked[~there].eq(0).all()

    sparse, itself = dense.twin(), dense.connectivity.self_loops != "none"
    for image in range(images):
        kept = there[image].nonzero().squeeze(-1)
        if len(kept):
            pairs = torch.cartesian_prod(kept, kept)
            edge_index = (pairs if itself else pairs[pairs[:, 0] != pairs[:, 1]]).t()
            graph = Graph(K, torch.arange(K), edge_index, *(tensor[image] for tensor in landmarks))
            assert_close(masked[image, kept], run(sparse, without(graph, there[image])))


def weights_and_edges(graph: Graph, there: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of edges, NaN where one of a missing node is, and which edges are there."""
    weight = torch.randn(graph.edge_index.shape[1], dtype=torch.float64)
    kept = there[graph.edge_index].all(dim=0)
    return unread(kept, weight), kept


@pytest.mark.parametrize("shape_features", [True, False])
@settings(max_examples=25, deadline=None)
@given(graph=graphs(C), data=st.data())
def test_masking_nodes_equals_dropping_them_where_weights_are_given(
    shape_features: bool, graph: Graph, data: st.DataObject
) -> None:
    there = data.draw(booleans(len(graph.x)))
    torch.manual_seed(0)
    weight, kept = weights_and_edges(graph, there)
    x, pos, small = unread(there, graph.x), unread(there, graph.pos), without(graph, there)
    conv = randomize(LGCNConv(C, 2, shape_features=shape_features)).double()
    flipped = LGCNConv(C, 2, shape_features=shape_features, flow="target_to_source").double()
    flipped.load_state_dict(conv.state_dict())
    lgcn = stack(("uniform", {}), graph.num_landmarks, norm="layer_norm", shape_features=shape_features)
    expected = conv(small.x, small.edge_index, small.pos, edge_weight=weight[kept])
    both = [
        (conv(x, graph.edge_index, pos, edge_weight=weight, mask=there), expected),
        (flipped(x, graph.edge_index.flip(0), pos, edge_weight=weight, mask=there), expected),
        (
            lgcn(x, pos, edge_index=graph.edge_index, edge_weight=weight, mask=there),
            lgcn(small.x, small.pos, edge_index=small.edge_index, edge_weight=weight[kept]),
        ),
    ]
    for masked, dropped in both:
        assert masked[~there].eq(0).all()
        assert_close(masked[there], dropped)


@pytest.mark.parametrize("shape_features", [True, False])
@settings(max_examples=25, deadline=None)
@given(images=st.integers(1, 3), data=st.data())
def test_dense_masking_equals_dropping_where_weights_are_given(
    shape_features: bool, images: int, data: st.DataObject
) -> None:
    K = 5
    there = data.draw(booleans(images * K)).view(images, K)
    torch.manual_seed(0)
    x, pos, _ = random_landmarks(images, K, C, torch.float64)
    weight = torch.randn(images, K, K, dtype=torch.float64)
    pairs = there.unsqueeze(-1) & there.unsqueeze(-2)
    hidden, unseen, unknown = unread(there, x), unread(there, pos), unread(pairs, weight)
    conv = randomize(DenseLGCNConv(C, 2, shape_features=shape_features)).double()
    lgcn = stack(("uniform", {}), K, dense=True, norm="layer_norm", shape_features=shape_features)
    for layer in (conv, lgcn):
        masked = layer(hidden, unseen, edge_weight=unknown, mask=there)
        assert masked[~there].eq(0).all()
        for image in range(images):
            own = there[image]
            few = weight[image][own][:, own]
            dropped = layer(x[image, None, own], pos[image, None, own], edge_weight=few)
            assert_close(masked[image, own], dropped[0])


def test_one_matrix_or_list_of_weights_serves_images_with_masks_of_their_own() -> None:
    x, pos, _ = random_landmarks(3, 6, C, torch.float64)
    there = torch.rand(3, 6) < 0.6
    adjacency = torch.rand(6, 6, dtype=torch.float64)
    receiver, neighbour = adjacency.nonzero().t()
    edges, weight = torch.stack([neighbour, receiver]), adjacency.flatten()
    dense = stack(("uniform", {}), 6, dense=True)
    expected, returned = dense(x, pos, edge_weight=adjacency, mask=there, return_connectivity=True)
    assert torch.equal(returned, adjacency * there.unsqueeze(-1) * there.unsqueeze(-2))
    out, returned = dense.twin()(x, pos, edge_index=edges, edge_weight=weight, mask=there, return_connectivity=True)
    assert returned.shape == (3, 36)
    assert_close(out, expected)


@every_connectivity
def test_images_that_share_an_edge_list_have_masks_of_their_own(case: Case) -> None:
    lgcn = stack(case, 5)
    landmarks = random_landmarks(3, 6, C, torch.float64)
    edge_index, landmark_id = torch.randint(0, 6, (2, 17)), torch.randint(0, 5, (6,))
    there = torch.rand(3, 6) < 0.6
    together = lgcn(*(unread(there, tensor) for tensor in landmarks), edge_index, landmark_id, there)
    for image, own in enumerate(there):
        graph = Graph(5, landmark_id, edge_index, *(tensor[image] for tensor in landmarks))
        assert_close(together[image, own], run(lgcn, without(graph, own)))


@every_connectivity
@pytest.mark.parametrize("dense", [True, False])
def test_gradients_of_features_positions_confidences_and_parameters(case: Case, dense: bool) -> None:
    lgcn = stack(case, 5, dense, act="tanh")
    landmarks = random_landmarks(2, 5, C, torch.float64, requires_grad=True)
    there = torch.ones(2, 5, dtype=torch.bool)
    there[0, 3] = False
    names = [name for name, _ in lgcn.named_parameters()]
    where = () if dense else (torch.randint(0, 5, (2, 14)), torch.arange(5))

    def layers(*tensors: Tensor) -> Tensor:
        given = dict(zip(names, tensors[3:], strict=True))
        return torch.func.functional_call(lgcn, given, (*tensors[:3], *where), {"mask": there})

    # Whoever has no neighbour to choose from reads no confidence.
    assert torch.autograd.gradcheck(layers, (*landmarks, *lgcn.parameters()), fast_mode=True)
    out = layers(*landmarks, *lgcn.parameters()).square().sum()
    x, pos, confidence = torch.autograd.grad(out, [*landmarks], allow_unused=True)
    assert x.abs().max() > 0 and pos.abs().max() > 0
    learned = case[0] == "learnable" and case[1].get("use_confidence", True)
    assert (confidence is not None and bool(confidence.abs().max() > 0)) == learned
    assert x[~there].eq(0).all() and pos[~there].eq(0).all()


@pytest.mark.parametrize("dense", [True, False])
def test_gradients_while_the_connectivity_normalizes_batches(dense: bool) -> None:
    lgcn = stack(("learnable", {"norm": "batch_norm"}), 4, dense, act="tanh").train()
    landmarks: Landmarks = random_landmarks(2, 4, C, torch.float64, requires_grad=True)
    where = () if dense else (torch.randint(0, 4, (2, 14)), torch.arange(4))
    assert torch.autograd.gradcheck(lambda *nodes: lgcn(*nodes, *where), tuple(landmarks), fast_mode=True)
