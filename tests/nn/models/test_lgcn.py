"""Stacks beyond the contract of all forms: conversion, norms, activations, dropout and hooks."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lgcn.graph import complete_edge_index
from lgcn.nn import LGCN, DenseLGCN, DenseLGCNConv, LearnableConnectivity, LGCNConv, for_inference
from lgcn.nn.conv.base import mask_rows
from lgcn.nn.functional.displacement import mean_displacement
from lgcn.nn.functional.masked_batch_norm import MaskedBatchNorm
from tests.nn.inputs import CONNECTIVITIES, assert_close, build_connectivity, random_landmarks, randomize

K, C = 6, 5
CHANNELS = (8, 4, 2)


def build(connectivity: str = "learnable", **options: Any) -> DenseLGCN:
    return randomize(DenseLGCN(C, CHANNELS, build_connectivity(connectivity, K), **options)).double()


def run_sparse(lgcn: LGCN, x: Tensor, pos: Tensor, confidence: Tensor, **options: Any) -> Tensor:
    return lgcn(x, complete_edge_index(K), pos, torch.arange(K), confidence, **options)


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
def test_conversions_share_all_parameters(connectivity: str) -> None:
    dense = build(connectivity, act="tanh", shape_features=[True, False, True], bias=False).eval()
    sparse = dense.to_sparse()
    back = sparse.to_dense()
    assert (type(sparse), type(back), type(sparse.convs[0])) == (LGCN, DenseLGCN, LGCNConv)
    assert not sparse.training
    for other in (sparse, back):
        parameters = {name: id(parameter) for name, parameter in other.named_parameters()}
        assert parameters == {name: id(parameter) for name, parameter in dense.named_parameters()}
    landmarks = random_landmarks(2, K, C, torch.float64)
    expected = dense(*landmarks)
    assert_close(run_sparse(sparse, *landmarks), expected)
    assert torch.equal(back(*landmarks), expected)


def test_sizes_and_repr() -> None:
    lgcn = LGCN(66, (64, 16, 2), LearnableConnectivity(K), act="elu", norm="layer_norm", dropout=0.1, bias=False)
    assert [tuple(conv.lin_neighbor.weight.shape) for conv in lgcn.convs] == [(64, 68), (16, 66), (2, 18)]
    text = repr(lgcn)
    for part in (
        "LearnableConnectivity(6)",
        "ELU",
        "LayerNorm(64",
        "Dropout(p=0.1",
        "shape_features=True, bias=False)",
    ):
        assert part in text
    assert "DenseLayer(64, 16, connectivity=None, shape_features=True, bias=False)" in repr(lgcn.to_dense())
    assert "Linear(in_features=68, out_features=128, bias=True)" in repr(for_inference(lgcn.to_dense()))
    inside = build_connectivity("adjacency", K, normalization="raw", symmetric=True)
    options = "connectivity=AdjacencyConnectivity(6, normalization='raw', symmetric=True), shape_features=False"
    assert repr(LGCNConv(C, 2, inside, False)) == f"LGCNConv(5, 2, {options})"
    assert repr(LGCNConv(C, 2, aggr="mean")) == "LGCNConv(5, 2, connectivity=None, shape_features=True, aggr=mean)"


@pytest.mark.parametrize("act", ["tanh", "Tanh", torch.tanh, nn.Tanh()])
def test_activations_by_name_callable_or_module(act: Any) -> None:
    x, pos, confidence = random_landmarks(2, K, C, torch.float64)
    lgcn = build(act=act)
    weight = lgcn.connectivity.dense(confidence)
    expected = x
    for layer, conv in enumerate(lgcn.convs):
        expected = conv(expected if layer == 0 else expected.tanh(), weight, mean_displacement(pos, weight))
    assert_close(lgcn(x, pos, confidence), expected)
    assert_close(for_inference(lgcn)(x, pos, confidence), expected)


def test_without_an_activation_a_stack_is_linear() -> None:
    x, pos, confidence = random_landmarks(2, K, C, torch.float64)
    lgcn = build(act=None)
    first, second, third = (lgcn(scale * x, scale * pos, confidence) for scale in (0, 1, 2))
    assert_close(third - second, second - first)


@pytest.mark.parametrize("norm", ["layer_norm", "LayerNorm", nn.LayerNorm, lambda width: nn.LayerNorm(width)])
def test_norms_by_name_or_callable(norm: Any) -> None:
    x, pos, confidence = random_landmarks(2, K, C, torch.float64)
    lgcn = build(norm=norm)
    weight = lgcn.connectivity.dense(confidence)
    displacement = mean_displacement(pos, weight)
    expected = lgcn.convs[0](x, weight, displacement)
    for conv, each in zip(lgcn.convs[1:], lgcn.norms, strict=True):
        normal = nn.functional.layer_norm(expected, expected.shape[-1:], each.weight, each.bias)
        expected = conv(normal.relu(), weight, displacement)
    assert_close(lgcn(x, pos, confidence), expected)
    assert_close(run_sparse(lgcn.to_sparse(), x, pos, confidence), expected)


def test_a_norm_given_as_a_module_is_copied_for_each_layer() -> None:
    norm = nn.LayerNorm(4)
    lgcn = DenseLGCN(C, [4, 4, 2], LearnableConnectivity(K), norm=norm)
    assert len({id(each.weight) for each in (norm, *lgcn.norms)}) == 3


@pytest.mark.parametrize("name", ["batch_norm", "BatchNorm"])
def test_batch_norm_is_of_the_nodes_that_are_present(name: str) -> None:
    x, pos, confidence = random_landmarks(3, K, C, torch.float64)
    lgcn, mask = build(norm=name), torch.rand(3, K) < 0.7
    assert all(isinstance(each, MaskedBatchNorm) for each in lgcn.norms)
    lgcn.norms[0].momentum = 1.0
    weight = lgcn.connectivity.dense(confidence, mask)
    hidden = lgcn.convs[0](mask_rows(x, mask), weight, mean_displacement(mask_rows(pos, mask), weight))[mask]
    lgcn(x, pos, confidence, mask=mask)
    assert_close(lgcn.norms[0].running_mean, hidden.mean(dim=0))
    assert_close(lgcn.norms[0].running_var, hidden.var(dim=0))


def test_dropout_in_training_only() -> None:
    landmarks, lgcn = random_landmarks(2, K, C, torch.float64), build(dropout=0.5)
    assert not torch.equal(lgcn(*landmarks), lgcn(*landmarks))
    lgcn.eval()
    assert torch.equal(lgcn(*landmarks), lgcn(*landmarks))
    assert_close(for_inference(lgcn)(*landmarks), lgcn(*landmarks))


def test_edge_weights_of_one_image_or_of_all() -> None:
    x, pos, confidence = random_landmarks(3, K, C, torch.float64)
    lgcn, conv = build(), randomize(DenseLGCNConv(C, 3)).double()
    out, weight = lgcn(x, pos, confidence, return_connectivity=True)
    assert_close(weight, lgcn.connectivity.dense(confidence))
    assert_close(lgcn(x, pos, edge_weight=weight), out)
    adjacency = torch.rand(K, K, dtype=torch.float64)
    for module in (lgcn, conv, for_inference(conv)):
        expected = module(x, pos, edge_weight=adjacency.expand(3, K, K))
        assert_close(module(x, pos, edge_weight=adjacency), expected)
        assert_close(module(x, pos, edge_weight=adjacency[None]), expected)
    messages = conv.lin_neighbor(torch.cat([x[0], pos[0, 0] - pos[0]], dim=-1))
    assert_close(conv(x, pos, edge_weight=adjacency)[0, 0], conv.lin_self(x[0, 0]) + adjacency[0] @ messages)


def test_a_position_that_no_edge_reads_does_not_affect_precision() -> None:
    x, pos, _ = random_landmarks(2, K, C)
    weight = torch.rand(2, K, K)
    weight[:, :, 0] = weight[:, 0] = 0.0
    conv = randomize(DenseLGCNConv(C, 3))
    moved = pos.clone()
    moved[:, 0] = 1e8
    assert_close(conv(x, moved, edge_weight=weight)[:, 1:], conv(x, pos, edge_weight=weight)[:, 1:])


@pytest.mark.parametrize("convert", [lambda lgcn: lgcn, DenseLGCN.to_sparse])
def test_forward_hooks_of_layers_are_called(convert: Callable[[DenseLGCN], nn.Module]) -> None:
    x, pos, confidence = random_landmarks(2, K, C, torch.float64)
    lgcn, seen = convert(build()), []
    for module in (*lgcn.convs, lgcn.act):
        module.register_forward_hook(lambda module, inputs, out: seen.append(out))
    out = run_sparse(lgcn, x, pos, confidence) if isinstance(lgcn, LGCN) else lgcn(x, pos, confidence)
    assert [each.shape[-1] for each in seen] == [8, 8, 4, 4, 2]
    assert torch.equal(seen[-1], out)
    lgcn.convs[-1].register_forward_hook(lambda module, inputs, out: 2 * out)
    changed = run_sparse(lgcn, x, pos, confidence) if isinstance(lgcn, LGCN) else lgcn(x, pos, confidence)
    assert_close(changed, 2 * out)


def test_a_trained_connectivity_is_not_reset() -> None:
    connectivity = randomize(LearnableConnectivity(K))
    state = {key: value.clone() for key, value in connectivity.state_dict().items()}
    for build_module in (
        lambda: LGCNConv(C, 4, connectivity),
        lambda: DenseLGCNConv(C, 4, connectivity),
        lambda: LGCN(C, [4], connectivity),
        lambda: DenseLGCN(C, [4], connectivity),
    ):
        module = build_module()
        assert all(torch.equal(value, state[key]) for key, value in connectivity.state_dict().items())
        for_inference(module)
    module.reset_parameters()
    assert not torch.equal(connectivity.edge_mlp.lins[0].weight, state["edge_mlp.lins.0.weight"])
