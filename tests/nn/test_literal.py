"""The reference itself: against the sums of the paper written as loops over numbers."""

import math

import torch

from lgcn.graph import complete_edge_index
from tests.nn.inputs import randomize
from tests.nn.literal import LiteralConnectivity, LiteralLGCN, LiteralLGCNConv


def mlp(module: torch.nn.Module, values: list[float]) -> list[float]:
    first, last = module.lins
    hidden = [max(0.0, value) for value in linear(first, values)]
    return linear(last, hidden)


def linear(module: torch.nn.Module, values: list[float]) -> list[float]:
    bias = [0.0] * module.out_features if getattr(module, "bias", None) is None else module.bias.tolist()
    rows = module.weight.tolist()
    return [sum(w * v for w, v in zip(row, values, strict=True)) + b for row, b in zip(rows, bias, strict=True)]


def test_connectivity_is_equation_5_and_6() -> None:
    module = randomize(LiteralConnectivity(3, 4, 5, 6)).double()
    ids, confidence = [2, 0, 1], [0.9, 0.1, 0.5]
    edges = [(j, i) for i in range(3) for j in range(3) if i != j]
    score = {}
    for j, i in edges:
        one_hot = [float(k == ids[i]) for k in range(3)] + [float(k == ids[j]) for k in range(3)]
        score[j, i] = mlp(module.edge_mlp, [confidence[i], confidence[j], *mlp(module.class_mlp, one_hot)])[0]
    expected = [
        math.exp(score[j, i]) / sum(math.exp(score[other, i]) for other in range(3) if other != i) for j, i in edges
    ]
    actual = module(torch.tensor(ids), torch.tensor(confidence, dtype=torch.float64), torch.tensor(edges).t())
    assert max(expected) - min(expected) > 0.05
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


def test_layer_is_equation_4() -> None:
    conv = LiteralLGCNConv(2, 3).double()
    x, pos = torch.randn(3, 2, dtype=torch.float64), torch.rand(3, 2, dtype=torch.float64)
    edges = [(1, 0), (2, 0), (0, 1)]
    weight = [0.25, 0.75, 1.0]
    expected = [linear(conv.lin_self, x[i].tolist()) for i in range(3)]
    for (j, i), e in zip(edges, weight, strict=True):
        message = linear(conv.lin_neighbor, [*x[j].tolist(), *(pos[i] - pos[j]).tolist()])
        expected[i] = [value + e * part for value, part in zip(expected[i], message, strict=True)]
    actual = conv(x, pos, torch.tensor(edges).t(), torch.tensor(weight, dtype=torch.float64))
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


def test_stack_has_the_layers_of_the_paper_and_runs_as_a_generated_message_passing_class() -> None:
    lgcn = LiteralLGCN(66, (64, 16, 2), LiteralConnectivity(4))
    assert [tuple(conv.lin_neighbor.weight.shape) for conv in lgcn.convs] == [(64, 68), (16, 66), (2, 18)]
    out = lgcn(torch.randn(4, 66), torch.rand(4, 2), torch.rand(4), complete_edge_index(4), torch.arange(4))
    assert out.shape == (4, 2)
    assert type(lgcn.convs[0]).propagate.__module__.startswith(LiteralLGCNConv.__module__)
