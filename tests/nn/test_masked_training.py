"""In training with batch normalisation, too: what is missing is as if it were not there, and both forms agree."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lgcn.graph import complete_edge_index
from lgcn.nn import DenseLGCN, LearnableConnectivity
from lgcn.nn.functional.masked_batch_norm import MaskedBatchNorm
from tests.nn.inputs import assert_close, randomize

K, B = 6, 3
CASES: list[dict[str, Any]] = [
    {},
    {"act_last": True, "self_loops": "zero"},  # the released code
    {"self_loops": "scored"},
    {"symmetric": True},
    {"symmetric": True, "act_last": True, "self_loops": "zero"},
    {"edge_hidden_channels": [4, 3], "normalization": "raw"},
    {"use_class_embedding": False},
    {"use_confidence": False},
]
MASK = torch.tensor([[1, 0, 1, 1, 0, 1], [1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1]]).bool()


def named(case: dict[str, Any]) -> str:
    return "-".join(f"{key}={value}" for key, value in case.items()) or "plain"


@pytest.fixture(params=CASES, ids=named)
def connectivity(request: pytest.FixtureRequest) -> LearnableConnectivity:
    connectivity = LearnableConnectivity(K, 8, 4, **{"edge_hidden_channels": 5, **request.param}, norm="batch_norm")
    randomize(connectivity).double().train()
    for mlp in filter(None, (connectivity.class_mlp, connectivity.edge_mlp)):
        nn.init.constant_(mlp.lins[-1].bias, 1.0)  # an activation may follow, which would kill what is below 0
    return connectivity


def complete(connectivity: LearnableConnectivity, landmarks: int = K) -> Tensor:
    return complete_edge_index(landmarks, self_loops=connectivity.self_loops != "none")


def confidences() -> Tensor:
    return torch.rand(B, K, dtype=torch.float64)


def assert_same_training(mine: nn.Module, theirs: nn.Module, weight: Tensor, expected: Tensor) -> None:
    """Weights, the gradients of all parameters and what the running statistics have become."""
    assert_close(weight, expected)
    slope = torch.randn_like(expected)
    for out in (weight, expected):
        (out * slope).sum().backward()
    for one, other in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert_close(one.grad, other.grad)
    assert any(parameter.grad.abs().max() > 1e-6 for parameter in theirs.parameters())
    for one, other in zip(mine.buffers(), theirs.buffers(), strict=True):
        assert_close(one.double(), other.double())


def on_both(edge_index: Tensor, kept: Tensor) -> Tensor:
    """Edges between nodes that are kept, as edges of these alone."""
    place = torch.full((K,), -1)
    place[kept] = torch.arange(len(kept))
    renamed = place[edge_index]
    return renamed[:, (renamed >= 0).all(dim=0)]


def test_landmarks_missing_in_all_images(connectivity: LearnableConnectivity) -> None:
    twin = copy.deepcopy(connectivity)
    confidence, mask = confidences(), MASK[0].expand(B, K)
    kept = MASK[0].nonzero().squeeze(-1)
    edge_index = complete(connectivity, len(kept))
    dropped = twin(kept, confidence[:, kept], edge_index)
    weight = connectivity.dense(confidence.masked_fill(~mask, torch.nan), mask)
    assert weight[:, ~MASK[0]].eq(0).all() and weight[:, :, ~MASK[0]].eq(0).all()
    i, j = kept[edge_index[1]], kept[edge_index[0]]
    assert_same_training(connectivity, twin, weight[:, i, j], dropped)


def test_other_landmarks_missing_in_each_image(connectivity: LearnableConnectivity) -> None:
    dense, sparse, dropped = connectivity, copy.deepcopy(connectivity), copy.deepcopy(connectivity)
    confidence, edge_index = confidences(), complete(connectivity)
    j, i = edge_index
    weight = dense.dense(confidence, MASK)[:, i, j]
    on_edges = sparse(torch.arange(K), confidence, edge_index, MASK)
    # Images that do not share an edge list can drop other landmarks each.
    parts = [MASK[b].nonzero().squeeze(-1) for b in range(B)]
    first = [sum(len(part) for part in parts[:b]) for b in range(B)]
    edges = torch.cat([on_both(edge_index, part) + offset for part, offset in zip(parts, first, strict=True)], dim=1)
    expected = dropped(torch.cat(parts), confidence[MASK], edges)
    assert_close(weight[(MASK[:, i] & MASK[:, j])], expected)
    assert_same_training(dense, sparse, weight, on_edges)


def test_a_mask_for_all_images_and_an_edge_list_of_any_kind(connectivity: LearnableConnectivity) -> None:
    twin = copy.deepcopy(connectivity)
    landmark_id, confidence = torch.tensor([3, 0, 3, 1, 5, 0]), confidences()
    edge_index, mask = torch.randint(0, K, (2, 40)), MASK[0]
    there = mask[edge_index].all(dim=0)
    weight = connectivity(landmark_id, confidence, edge_index, mask)
    expected = twin(landmark_id, confidence, edge_index[:, there])
    assert weight[:, ~there].eq(0).all()
    assert_same_training(connectivity, twin, weight[:, there], expected)


def test_nothing_missing(connectivity: LearnableConnectivity) -> None:
    without, sparse = copy.deepcopy(connectivity), copy.deepcopy(connectivity)
    confidence, edge_index = confidences(), complete(connectivity)
    masked = connectivity.dense(confidence, torch.ones(B, K, dtype=torch.bool))
    plain = without.dense(confidence)
    j, i = edge_index
    on_edges = sparse(torch.arange(K), confidence, edge_index)
    assert_close(plain[:, i, j], on_edges)
    assert_same_training(connectivity, without, masked, plain)
    for one, other in zip(sparse.buffers(), without.buffers(), strict=True):
        assert_close(one.double(), other.double())


def test_everything_missing_leaves_the_running_statistics(connectivity: LearnableConnectivity) -> None:
    before = copy.deepcopy(list(connectivity.buffers()))
    weight = connectivity.dense(confidences(), torch.zeros(B, K, dtype=torch.bool))
    assert weight.eq(0).all()
    assert all(map(torch.equal, connectivity.buffers(), before))
    weight.sum().backward()
    assert all(parameter.grad.eq(0).all() for parameter in connectivity.parameters() if parameter.grad is not None)


def test_statistics_that_are_no_longer_to_move(connectivity: LearnableConnectivity) -> None:
    for module in connectivity.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.fill_(0.3)
            module.running_var.fill_(0.7)
    for mlp in filter(None, (connectivity.class_mlp, connectivity.edge_mlp)):
        mlp.norms.eval()
    confidence = confidences()
    assert_close(connectivity.dense(confidence, MASK), copy.deepcopy(connectivity).eval().dense(confidence, MASK))


@pytest.mark.parametrize("norm", ["batch_norm", "layer_norm"])
def test_stacks_of_both_forms(norm: str) -> None:
    connectivity = LearnableConnectivity(K, norm="batch_norm", act_last=True, self_loops="zero")
    dense = randomize(DenseLGCN(3, [4, 2], connectivity, norm=norm)).double().train()
    sparse = copy.deepcopy(dense).to_sparse()
    x, pos, confidence = torch.randn(B, K, 3).double(), torch.rand(B, K, 2).double(), confidences()
    out = dense(x, pos, confidence, mask=MASK)
    expected = sparse(x, complete(connectivity), pos, torch.arange(K), confidence, mask=MASK)
    assert_close(out, expected)
    for (name, one), (_, other) in zip(dense.named_buffers(), sparse.named_buffers(), strict=True):
        assert name and torch.allclose(one.double(), other.double(), rtol=1e-10)


@pytest.mark.parametrize("case", [{}, {"symmetric": True, "act_last": True, "self_loops": "zero"}], ids=named)
def test_one_graph_when_compiled(case: dict[str, Any]) -> None:
    connectivity = randomize(LearnableConnectivity(K, 8, 4, 5, norm="batch_norm", **case)).double().train()
    eager = copy.deepcopy(connectivity)
    compiled = torch.compile(connectivity.dense, backend="aot_eager", fullgraph=True, dynamic=True)
    confidence, edge_index = confidences(), complete(connectivity)
    assert_same_training(connectivity, eager, compiled(confidence, MASK), eager.dense(confidence, MASK))
    compiled = torch.compile(connectivity, backend="aot_eager", fullgraph=True, dynamic=True)
    inputs = (torch.arange(K), confidence, edge_index, MASK)
    assert_same_training(connectivity, eager, compiled(*inputs), eager(*inputs))


@pytest.mark.parametrize("images", [1, 4])
def test_rows_that_count_several_times(images: int) -> None:
    x, times = torch.randn(5, 3).double(), torch.tensor([2.0, 0.0, 1.0, 3.0, 1.0]).double()
    mine, theirs = MaskedBatchNorm(3).double(), nn.BatchNorm1d(3).double()
    repeated = x.repeat_interleave(times.long(), dim=0)
    out = mine(x, times)
    assert_close(out.repeat_interleave(times.long(), dim=0), theirs(repeated))
    for one, other in zip(mine.buffers(), theirs.buffers(), strict=True):
        assert_close(one.double(), other.double())
    assert_close(MaskedBatchNorm(3).double()(x.expand(images, 5, 3), times)[0], out)
    assert_close(mine.eval()(x, times), theirs.eval()(x))


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_does_not_read_rows_that_are_absent(training: bool) -> None:
    norm, x = MaskedBatchNorm(3).double().train(training), torch.rand(B, K, 3, dtype=torch.float64)
    x.masked_fill_(~MASK.unsqueeze(-1), torch.nan).requires_grad_()
    out = norm(x, MASK)
    out.square().sum().backward()
    assert all(tensor.isfinite().all() for tensor in (out, x.grad, norm.weight.grad, norm.bias.grad, norm.running_var))
