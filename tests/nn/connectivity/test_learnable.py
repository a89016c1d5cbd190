from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lgcn.checks import InputError
from lgcn.graph import complete_edge_index
from lgcn.nn import LearnableConnectivity
from lgcn.nn.connectivity import table
from tests.nn.inputs import assert_close, assert_same_gradients, randomize
from tests.nn.literal import LiteralConnectivity

SIZES = (7, 4, 6, 5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sizes", [SIZES, (1, 3, 2, 4)])
def test_equals_the_literal_transcription(sizes: tuple[int, ...], dtype: torch.dtype) -> None:
    connectivity = randomize(LearnableConnectivity(*sizes)).to(dtype)
    literal = LiteralConnectivity(*sizes).to(dtype)
    literal.load_state_dict(connectivity.state_dict())
    nodes = 12
    landmark_id, confidence = torch.randint(0, sizes[0], (nodes,)), torch.rand(nodes, dtype=dtype)
    edge_index = torch.randint(0, nodes, (2, 60))

    weight, expected = (module(landmark_id, confidence, edge_index) for module in (connectivity, literal))
    assert_close(weight, expected)
    target = torch.rand_like(expected)
    for out in (weight, expected):
        (out - target).square().sum().backward()
    assert_same_gradients(connectivity, literal)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dense_equals_the_literal_transcription(dtype: torch.dtype) -> None:
    connectivity = randomize(LearnableConnectivity(*SIZES)).to(dtype)
    literal = LiteralConnectivity(*SIZES).to(dtype)
    literal.load_state_dict(connectivity.state_dict())
    confidence = torch.rand(3, 7, dtype=dtype)
    edge_index = complete_edge_index(7)
    dense = connectivity.dense(confidence)[:, edge_index[1], edge_index[0]]
    expected = torch.stack([literal(torch.arange(7), image, edge_index) for image in confidence])
    assert_close(dense, expected)
    target = torch.rand_like(expected)
    for out in (dense, expected):
        (out - target).square().sum().backward()
    assert_same_gradients(connectivity, literal)


def test_class_embedding_is_the_mlp_on_one_hot_pairs() -> None:
    connectivity = randomize(LearnableConnectivity(*SIZES)).double()
    g = F.one_hot(torch.arange(7)).double()
    pairs = torch.cat([g[:, None].expand(7, 7, 7), g[None].expand(7, 7, 7)], dim=-1)
    assert_close(connectivity.class_embedding(), connectivity.class_mlp(pairs))
    assert connectivity.edge_table().table.shape == (5, 7, 7)


def test_sizes() -> None:
    shapes = {name: tuple(value.shape) for name, value in LearnableConnectivity(*SIZES).named_parameters()}
    assert shapes == {
        "class_mlp.lins.0.weight": (4, 14),
        "class_mlp.lins.0.bias": (4,),
        "class_mlp.lins.1.weight": (6, 4),
        "class_mlp.lins.1.bias": (6,),
        "edge_mlp.lins.0.weight": (5, 8),
        "edge_mlp.lins.0.bias": (5,),
        "edge_mlp.lins.1.weight": (1, 5),
        "edge_mlp.lins.1.bias": (1,),
    }


def test_an_uncertain_landmark_changes_the_weights_of_that_image_only() -> None:
    connectivity = randomize(LearnableConnectivity(4)).double()
    confidence = torch.full((2, 4), 0.9, dtype=torch.float64)
    confidence[1, 2] = 0.1
    sure, unsure = connectivity.dense(confidence)
    assert_close(sure, connectivity.dense(confidence[:1])[0])
    assert (sure - unsure).abs().max() > 1e-3


def test_a_pair_weighs_differently_each_way() -> None:
    weight = randomize(LearnableConnectivity(4)).dense(torch.full((1, 4), 0.5))[0]
    assert (weight - weight.t()).abs().max() > 1e-3


def test_gradients_reach_both_mlps_and_the_confidences() -> None:
    connectivity = LearnableConnectivity(6)
    confidence = torch.rand(2, 6, requires_grad=True)
    connectivity.dense(confidence).square().sum().backward()
    assert confidence.grad.abs().min() > 0
    for name, parameter in connectivity.named_parameters():
        assert name == "edge_mlp.lins.1.bias" or parameter.grad.abs().max() > 0


def test_an_unknown_type_is_not_read_from_another_row_of_the_table() -> None:
    connectivity = LearnableConnectivity(4)
    for wrong in (4, -1):
        with pytest.raises(InputError, match=rf"'landmark_id' in 0 ... 3 \(got {wrong}\)"):
            connectivity(torch.tensor([0, wrong]), torch.rand(2), torch.tensor([[1], [0]]))


RELEASED = {"class_channels": 1, "edge_hidden_channels": 4, "norm": "batch_norm", "act_last": True}


def literal_scores(connectivity: LearnableConnectivity, confidence: Tensor) -> Tensor:
    """Scores [B, K, K] by the two MLPs on one-hot pairs, of pairs of different landmarks."""
    K = connectivity.num_landmarks
    j, i = complete_edge_index(K)
    g = F.one_hot(torch.arange(K)).to(confidence)
    types = connectivity.class_mlp.act(connectivity.class_mlp(torch.cat([g[i], g[j]], dim=-1)))
    rows = [torch.cat([image[i, None], image[j, None], types], dim=-1) for image in confidence]
    scores = connectivity.edge_mlp(torch.cat(rows)).view(len(confidence), -1)
    pairs = scores.new_zeros(len(confidence), K, K)
    pairs[:, i, j] = scores
    return pairs


@pytest.mark.parametrize("training", [True, False])
def test_batch_normalization_after_activations(training: bool) -> None:
    connectivity = randomize(LearnableConnectivity(7, **RELEASED)).double()
    for mlp in (connectivity.class_mlp, connectivity.edge_mlp):
        torch.nn.init.constant_(mlp.lins[-1].bias, 3.0)  # an activation follows, which would kill what is below 0
    connectivity.dense(torch.rand(8, 7, dtype=torch.float64))  # moves the running statistics
    connectivity.train(training)
    expected = deepcopy(connectivity)
    confidence = torch.rand(3, 7, dtype=torch.float64)
    mine, theirs = connectivity.pair_scores(confidence), literal_scores(expected, confidence)
    off_diagonal = ~torch.eye(7, dtype=torch.bool)
    assert_close(mine[:, off_diagonal], theirs[:, off_diagonal])
    for scores in (mine, theirs):
        scores[:, off_diagonal].square().sum().backward()
    assert_same_gradients(connectivity, expected)
    for name, buffer in expected.named_buffers():
        # Types are embedded once a batch, not once an image; the mean is the same.
        assert_close(dict(connectivity.named_buffers())[name].double(), buffer.double())


def test_batch_normalization_on_an_edge_list_is_that_of_the_dense_form() -> None:
    connectivity = randomize(LearnableConnectivity(5, **RELEASED)).double().train()
    confidence = torch.rand(3, 5, dtype=torch.float64)
    j, i = edge_index = complete_edge_index(5)
    assert_close(connectivity(torch.arange(5), confidence, edge_index), connectivity.dense(confidence)[:, i, j])


def test_without_confidences_all_images_are_the_same_and_without_types_all_landmarks() -> None:
    typed = randomize(LearnableConnectivity(6, use_confidence=False))
    weight = typed.dense(torch.rand(2, 6))
    assert torch.equal(weight[0], weight[1]) and weight[0].std() > 0.01
    untyped = randomize(LearnableConnectivity(6, use_class_embedding=False))
    order = torch.randperm(6)
    confidence = torch.rand(2, 6)
    moved = untyped.dense(confidence[:, order])
    assert_close(moved, untyped.dense(confidence)[:, order][:, :, order])
    assert "class_mlp" not in " ".join(untyped.state_dict())
    with pytest.raises(InputError, match="'use_class_embedding' or 'use_confidence' .got neither"):
        LearnableConnectivity(6, use_class_embedding=False, use_confidence=False)


def test_options_that_cannot_be_used() -> None:
    with pytest.raises(InputError, match="'norm' to be one of batch_norm .got 'layer_norm'"):
        LearnableConnectivity(6, norm="layer_norm")
    with pytest.raises(InputError, match=r"'edge_hidden_channels' to be 1 or more .got 0"):
        LearnableConnectivity(6, edge_hidden_channels=0)


@pytest.mark.parametrize("options", [{"edge_hidden_channels": [8, 4]}, {"edge_hidden_channels": []}])
def test_other_depths_of_the_edge_mlp(options: dict[str, Any]) -> None:
    connectivity = randomize(LearnableConnectivity(6, class_hidden_channels=[5, 4], **options)).double()
    confidence = torch.rand(2, 6, dtype=torch.float64)
    K = connectivity.num_landmarks
    g = torch.eye(K, dtype=torch.float64)
    pairs = torch.cat([g[:, None].expand(K, K, K), g[None].expand(K, K, K)], dim=-1)
    types = connectivity.class_mlp(pairs.flatten(0, 1)).view(K, K, -1).expand(2, K, K, -1)
    c = torch.stack(torch.broadcast_tensors(confidence[:, :, None], confidence[:, None]), dim=-1)
    expected = connectivity.edge_mlp(torch.cat([c, types], dim=-1).flatten(0, 2)).view(2, K, K)
    assert_close(connectivity.pair_scores(confidence), expected)


@pytest.mark.parametrize("edges", [1, 7, 42])
@pytest.mark.parametrize("images", [None, 3])
def test_edges_in_chunks_at_inference(monkeypatch: pytest.MonkeyPatch, edges: int, images: int | None) -> None:
    connectivity = randomize(LearnableConnectivity(7)).double()
    confidence = torch.rand(7 if images is None else (images, 7), dtype=torch.float64)
    expected = connectivity(torch.arange(7), confidence, complete_edge_index(7))
    monkeypatch.setattr(table, "_CACHED", edges * 32 * (images or 1))
    with torch.no_grad():
        assert_close(connectivity(torch.arange(7), confidence, complete_edge_index(7)), expected)
