"""Landmarks of a detector as PyG graphs: equal to the dense path, and safe to batch."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch

from lgcn.models import LandmarkDetector
from lgcn.nn import FactorAnalysisConv, GaussianRefiner, LandmarkRefiner

K = 19


def gaussian(detector: Callable[..., LandmarkDetector], **options: object) -> LandmarkDetector:
    built = detector("default", refiner={"name": "gaussian", "gaussian": {"rank": 3, **options}})
    assert isinstance(built.refiner, GaussianRefiner)
    built.refiner.fit(40 * torch.rand(50, K, 2))
    return built


def test_a_graph_a_face(detector: Callable[..., LandmarkDetector], images: Tensor) -> None:
    built, y = detector("default"), torch.rand(2, K, 2)
    batch, output = built.landmark_graphs(images, y), built(images, return_connectivity=True)
    assert (batch.num_graphs, batch.num_nodes, batch.num_edges) == (2, 2 * K, 2 * K * (K - 1))
    torch.testing.assert_close(batch.pos.view(2, K, 2), output.initial)
    torch.testing.assert_close(batch.confidence.view(2, K), output.confidence)
    assert torch.equal(batch.y.view(2, K, 2), y)
    assert batch.landmark_id.tolist() == 2 * list(range(K))
    neighbor, receiver = batch[1].edge_index
    torch.testing.assert_close(batch[1].edge_weight, output.connectivity[1][receiver, neighbor])
    again = Batch.from_data_list(batch.to_data_list())
    for key in batch.keys():  # noqa: SIM118 - a Batch is no mapping
        assert torch.equal(batch[key], again[key]), key


@pytest.mark.parametrize("preset", ["paper", "default", "official"])
def test_edge_lists_of_the_papers_layers_give_the_dense_result(
    detector: Callable[..., LandmarkDetector], images: Tensor, preset: str
) -> None:
    built = detector(preset)
    refiner = built.refiner
    assert isinstance(refiner, LandmarkRefiner)
    batch, pos = built.landmark_graphs(images), built(images).pos.flatten(0, 1)
    for weights in ({"edge_weight": batch.edge_weight}, {}):
        out = refiner.lgcn.to_sparse()(
            batch.x, batch.edge_index, batch.x[:, :2], batch.landmark_id, batch.confidence, **weights
        )
        scaled = out * out.new_tensor([48, 32])
        origin = 0.5 if refiner.coordinates == "pixel" else 0.0
        refined = scaled - origin if refiner.output == "absolute" else batch.pos + scaled
        torch.testing.assert_close(refined, pos, atol=1e-4, rtol=1e-4)


def test_edge_lists_of_the_gaussian_layer_give_the_dense_result(
    detector: Callable[..., LandmarkDetector], images: Tensor
) -> None:
    built = gaussian(detector)
    refiner, found = built.refiner, built.propose(images)
    assert isinstance(refiner, GaussianRefiner)
    batch = built.landmark_graphs(images)
    similarity, observed, variance = refiner.align(found.features, found.pos, found.confidence)
    conv = FactorAnalysisConv(refiner.prior)
    out = conv(observed.flatten(0, 1), variance.flatten(0, 1), batch.landmark_id, batch.batch)
    refined = similarity.invert(out.view(2, K, 2)) * refiner.scale + refiner.centre
    torch.testing.assert_close(refined, built(images).pos, atol=1e-4, rtol=1e-4)
    edges = conv.edge_weight(batch.edge_index, variance.flatten(0, 1), batch.landmark_id, batch.batch)
    torch.testing.assert_close(edges.norm(dim=(-2, -1)) / 2**0.5, batch.edge_weight, atol=1e-4, rtol=1e-4)


def test_without_a_refiner_there_are_positions_and_features(
    detector: Callable[..., LandmarkDetector], images: Tensor
) -> None:
    batch = detector("default", refiner={"name": "none"}).landmark_graphs(images)
    assert batch.x.shape == (2 * K, 2 + 6)
    assert "edge_weight" not in batch
    torch.testing.assert_close(batch.x[:, :2], (batch.pos + 0.5) / torch.tensor([48, 32]))


def test_of_a_chain_the_graph_is_that_of_its_first_refiner(
    detector: Callable[..., LandmarkDetector], images: Tensor
) -> None:
    chain = detector("default", refiner={"name": "lgcn+gaussian", "gaussian": {"rank": 3}})
    alone = detector("default")
    alone.backbone, alone.refiner = chain.backbone, chain.refiner.refiners[0]  # type: ignore[union-attr, assignment]
    for key, value in alone.landmark_graphs(images):
        assert torch.equal(value, chain.landmark_graphs(images)[key]), key
