"""Any PyG model as a refiner: the graph it gets, masks, bad models, explainers."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.explain import Explainer, GNNExplainer
from torch_geometric.explain.config import ModelConfig
from torch_geometric.nn import GAT, GATv2Conv, GCNConv, TransformerConv

from lgcn.checks import InputError
from lgcn.graph import complete_edge_index
from lgcn.nn import ConvStack, GNNRefiner, LearnableConnectivity, LGCNConv
from lgcn.typing import KeyPoints

B, K, C, SIZE = 3, 6, 4, (32, 48)

Build = Callable[[int, int], nn.Module]
MODELS: dict[str, Build] = {
    "GATv2Conv": lambda i, o: ConvStack(GATv2Conv, i, o, 8, heads=2),
    "TransformerConv": lambda i, o: ConvStack(TransformerConv, i, o, 8, edge_dim=2),
    "LGCNConv": lambda i, o: ConvStack(LGCNConv, i, o, 8),
    "GCNConv": lambda i, o: ConvStack(GCNConv, i, o, 8),
    "GAT": lambda i, o: GAT(i, 8, 2, o),
}
models = pytest.mark.parametrize("build", MODELS.values(), ids=list(MODELS))


def keypoints() -> KeyPoints:
    pos = torch.rand(B, K, 2) * torch.tensor([47.0, 31.0])
    return KeyPoints(pos, torch.rand(B, K), features=torch.randn(B, C, 8, 12))


def refiner(build: Build | nn.Module = MODELS["GATv2Conv"], **options: object) -> GNNRefiner:
    """With a scale, as after training."""
    built = GNNRefiner(K, C, SIZE, model=build, connectivity=LearnableConnectivity(K), visual_channels=[8], **options)
    if built.scale is not None:
        nn.init.constant_(built.scale, 0.5)
    return built


@models
def test_images_are_graphs_of_their_own(build: Build) -> None:
    built, given = refiner(build), keypoints()
    together = built.refine(given, return_connectivity=True)
    for image in range(B):
        alone = built.refine(KeyPoints(given.pos[[image]], given.confidence[[image]], features=given.features[[image]]))
        torch.testing.assert_close(together.pos[[image]], alone.pos)
    assert together.connectivity.shape == (B, K, K)
    assert not torch.equal(together.pos, given.pos)


@models
def test_the_model_runs_on_single_graphs_with_the_same_result(build: Build) -> None:
    """What the refiner does equals PyG's own batching of one ``Data`` a face."""
    built, given = refiner(build), keypoints()
    x, p = built.node_features(given), (given.pos + 0.5) / torch.tensor([48.0, 32.0])
    weight = built.connectivity.dense(given.confidence)
    neighbor, receiver = edge_index = complete_edge_index(K)
    faces = [Data(x=x[b], p=p[b], edge_index=edge_index, edge_weight=weight[b, receiver, neighbor]) for b in range(B)]
    batch = Batch.from_data_list(faces)
    further: dict[str, Tensor] = {"edge_weight": batch.edge_weight}
    if isinstance(built.model, ConvStack):
        q = batch.p[batch.edge_index[1]] - batch.p[batch.edge_index[0]]
        further |= {"pos": batch.p, "edge_attr": q}
    out = built.model(batch.x, batch.edge_index, **further).view(B, K, 2)
    expected = given.pos + built.scale * out * torch.tensor([48.0, 32.0])
    torch.testing.assert_close(built(given.features, given.pos, given.confidence), expected, atol=1e-4, rtol=1e-4)


def test_values_at_a_missing_landmark_are_not_read_in_training() -> None:
    built, given = refiner(), keypoints()
    mask = torch.ones(B, K, dtype=torch.bool)
    mask[0, 2] = False
    features = torch.randn(B, K, C)
    gradients = []
    for value in (0.0, torch.nan):
        pos, confidence, sampled = given.pos.clone(), given.confidence.clone(), features.clone()
        for tensor in (pos, confidence, sampled):
            tensor[0, 2] = value
        refined = built(sampled, pos, confidence, mask)
        built.zero_grad()
        refined[mask].sum().backward()
        gradients.append([parameter.grad.clone() for parameter in built.parameters() if parameter.grad is not None])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


@models
def test_a_missing_landmark_is_as_if_it_did_not_exist(build: Build) -> None:
    built, given = refiner(build), keypoints()
    mask = torch.ones(B, K, dtype=torch.bool)
    mask[0, 2] = False
    moved = given.pos.clone()
    moved[0, 2] = torch.nan
    first = built.refine(given._replace(mask=mask)).pos
    second = built.refine(given._replace(pos=moved, mask=mask)).pos
    assert torch.equal(first[mask], second[mask]) and first.isfinite().all()
    assert torch.equal(first[0, 2], given.pos[0, 2])
    assert not torch.equal(first[0], built.refine(given).pos[0])


@models
def test_training_reaches_all_parameters(build: Build) -> None:
    built, given = refiner(build), keypoints()
    built.refine(given).pos.square().mean().backward()
    without = [name for name, each in built.named_parameters() if each.grad is None]
    assert (all(name.startswith("connectivity") for name in without) and build is not MODELS["LGCNConv"]) or not without


def test_an_untrained_refiner_moves_nothing() -> None:
    given = keypoints()
    built = GNNRefiner(K, C, SIZE, model=MODELS["GAT"])
    assert torch.equal(built.refine(given).pos, given.pos)
    torch.manual_seed(0)
    nn.init.ones_(built.scale)
    built.reset_parameters()
    assert torch.equal(built.refine(given).pos, given.pos)


def test_points_alone_and_absolute_positions() -> None:
    built = GNNRefiner(K, 0, SIZE, model=MODELS["GAT"], confidence_feature=False, output="absolute")
    assert built.needs == ()
    assert built.refine(KeyPoints(keypoints().pos)).pos.shape == (B, K, 2)


class ThreeNumbers(nn.Module):
    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return x[:, :3]


class NeedsWeights(nn.Module):
    """Returns how much weight a node receives."""

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        received = torch.zeros(len(x)).index_add(0, edge_index[1], edge_weight)
        return received.unsqueeze(1).expand(-1, 2)


def test_models_that_break_the_contract_fail_when_they_are_built() -> None:
    with pytest.raises(InputError, match=r"to return \[N, 2\].*\(got \[12, 3\] of ThreeNumbers for N = 12\)"):
        refiner(ThreeNumbers())
    with pytest.raises(InputError, match=r"x \[N, 43\], edge_index.* \(got GAT, which raised.*Give it 43 in_chan"):
        refiner(GAT(7, 8, 2, 2))
    with pytest.raises(InputError, match=r"'hidden_channels' in multiples of 3 heads \(got 8\)"):
        ConvStack(GATv2Conv, 4, 2, 8, heads=3)
    with pytest.raises(InputError, match=r"options of 'GATv2Conv' \(got .*'depth': 2"):
        ConvStack(GATv2Conv, 4, 2, depth=2)


def test_a_layer_that_needs_weights_is_told_where_they_come_from() -> None:
    with pytest.raises(InputError, match=r"'edge_weight' \[E\].*edge_weight if there is a connectivity"):
        GNNRefiner(K, C, SIZE, model=lambda width, out: ConvStack(LGCNConv, width, out))


@pytest.mark.parametrize("name", ["pos", "confidence"])
def test_values_that_are_missing_are_masked(name: str) -> None:
    given = keypoints()
    wrong = getattr(given, name).clone()
    wrong[0, 1] = torch.nan
    with pytest.raises(InputError, match=f"'{name}' to be finite .*Mask or drop what is missing"):
        refiner().refine(given._replace(**{name: wrong}))
    mask = torch.ones(B, K, dtype=torch.bool)
    mask[0, 1] = False
    assert refiner().refine(given._replace(**{name: wrong}, mask=mask)).pos[mask].isfinite().all()


def test_weights_are_equal_where_a_model_needs_them_and_there_is_no_connectivity() -> None:
    built = GNNRefiner(K, C, SIZE, model=NeedsWeights(), output="absolute")
    assert torch.allclose(built.refine(keypoints()).pos, torch.tensor([47.5, 31.5]))


class PositionsFirst(nn.Module):
    """With the order of arguments of PointNetConv."""

    def forward(self, x: Tensor, pos: Tensor, edge_index: Tensor) -> Tensor:
        assert edge_index.dtype == torch.long
        return pos


def test_arguments_go_by_name() -> None:
    built, given = GNNRefiner(K, C, SIZE, model=PositionsFirst(), output="absolute"), keypoints()
    torch.testing.assert_close(built.refine(given).pos, given.pos)


@pytest.mark.parametrize("name", ["TransformerConv", "LGCNConv"])
def test_it_compiles_and_exports_without_a_break(name: str) -> None:
    built, given = refiner(MODELS[name]).eval(), keypoints()
    arguments = (given.features, given.pos, given.confidence)
    compiled = torch.compile(built, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(*arguments), built(*arguments))
    exported = torch.export.export(built, arguments).module()
    torch.testing.assert_close(exported(*arguments), built(*arguments))


def test_an_explainer_explains_the_model_on_its_graphs() -> None:
    built, given = refiner(MODELS["GATv2Conv"]).eval(), keypoints()
    config = ModelConfig(mode="regression", task_level="node", return_type="raw")
    algorithm = GNNExplainer(epochs=3)
    explainer = Explainer(built.model, algorithm, "model", config, node_mask_type="attributes", edge_mask_type="object")
    x = built.node_features(given)[0].detach()
    explanation = explainer(x, complete_edge_index(K), index=2)
    assert explanation.edge_mask.shape == (K * (K - 1),) and explanation.node_mask.shape == x.shape
    assert (explanation.edge_mask[complete_edge_index(K)[1] == 2] > 0).all()
