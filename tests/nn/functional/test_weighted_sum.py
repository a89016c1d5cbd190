import warnings

import pytest
import torch
from torch import Tensor
from torch_geometric.typing import OptTensor

from lgcn.checks import InputError
from lgcn.nn import LearnableConnectivity, LGCNConv
from lgcn.nn.functional.weighted_sum import weighted_sum

needs_mkl = pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="sparse products need MKL")
pytestmark = needs_mkl


def graph(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Edges in no order, one of them twice, and nodes without any."""
    edge_index = torch.randint(0, 7, (2, 20))
    edge_index = torch.cat([edge_index, edge_index[:, :1]], dim=1)
    return torch.randn(9, 3, dtype=dtype), torch.randn(21, dtype=dtype), edge_index


def as_written(x: Tensor, weight: Tensor, edge_index: Tensor) -> Tensor:
    out = torch.zeros_like(x)
    for e, (j, i) in enumerate(edge_index.t().tolist()):
        out[i] = out[i] + weight[e] * x[j]
    return out


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_is_the_sum_over_neighbours(dtype: torch.dtype, ordered: bool) -> None:
    x, weight, edge_index = graph(dtype)
    if ordered:
        edge_index = edge_index[:, edge_index[1].argsort()]
    torch.testing.assert_close(weighted_sum(x, weight, edge_index, len(x)), as_written(x, weight, edge_index))


def test_gradients() -> None:
    x, weight, edge_index = graph()
    inputs = (x.requires_grad_(), weight.requires_grad_())
    assert torch.autograd.gradcheck(lambda x, weight: weighted_sum(x, weight, edge_index, len(x)), inputs)


def test_gradients_of_gradients() -> None:
    x, weight, edge_index = graph()
    inputs = (x.requires_grad_(), weight.requires_grad_())
    assert torch.autograd.gradgradcheck(lambda x, weight: weighted_sum(x, weight, edge_index, len(x)), inputs)


def test_transforms_of_functions() -> None:
    conv, (x, edge_index, pos, landmark_id, confidence) = layer_inputs()
    weight = conv.connectivity(landmark_id, confidence, edge_index).detach()

    def total(x: Tensor, pos: Tensor) -> Tensor:
        return conv(x, edge_index, pos, edge_weight=weight).square().sum()

    inputs = (x.requires_grad_(), pos.requires_grad_())
    expected = torch.autograd.grad(total(*inputs), inputs)
    torch.testing.assert_close(torch.func.grad(total, argnums=(0, 1))(*inputs), expected)
    many = torch.stack([x, 2 * x]).detach()
    each = torch.func.vmap(torch.func.grad(total), in_dims=(0, None))(many, pos.detach())
    torch.testing.assert_close(each[0], expected[0])
    hessian = torch.func.hessian(total)(x.detach(), pos.detach())
    product = torch.autograd.grad(torch.autograd.grad(total(*inputs), x, create_graph=True)[0].sum(), x)[0]
    torch.testing.assert_close(hessian.sum(dim=(0, 1)), product)
    _, tangent = torch.func.jvp(total, (x.detach(), pos.detach()), (torch.ones_like(x), torch.zeros_like(pos)))
    torch.testing.assert_close(tangent, expected[0].sum())


def test_nothing_is_warned_about() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        weighted_sum(*graph(), 9)


def layer_inputs() -> tuple[LGCNConv, tuple[Tensor, ...]]:
    conv = LGCNConv(4, 5, connectivity=LearnableConnectivity(9)).double()
    x, _, edge_index = graph()
    nodes = len(x)
    rest = (torch.rand(nodes, 2, dtype=torch.float64), torch.arange(nodes), torch.rand(nodes, dtype=torch.float64))
    return conv, (torch.randn(nodes, 4, dtype=torch.float64), edge_index, *rest)


@pytest.mark.parametrize("wrong", [-1, 9])
def test_a_layer_gives_no_index_out_of_range_to_the_sparse_product(wrong: int) -> None:
    conv, (x, edge_index, *rest) = layer_inputs()
    edge_index[0, 3] = wrong
    for options in ({}, {"edge_weight": torch.rand(21).double()}):
        with pytest.raises(InputError, match=f"'edge_index' in 0 ... 8 .got {wrong}"):
            conv(x, edge_index, *rest, **options)


def test_a_layer_gives_the_same_with_and_without() -> None:
    conv, inputs = layer_inputs()
    fused = conv(*inputs)
    assert "WeightedSum" in names_of_graph(fused)
    gradients = torch.autograd.grad(fused.square().sum(), list(conv.parameters()))
    conv.fuse = False
    plain = conv(*inputs)
    assert "WeightedSum" not in names_of_graph(plain)
    torch.testing.assert_close(fused, plain, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients, torch.autograd.grad(plain.square().sum(), list(conv.parameters())))


def names_of_graph(tensor: Tensor) -> str:
    """The operations that autograd has recorded."""
    names, nodes = [], [tensor.grad_fn]
    while nodes:
        node = nodes.pop()
        names.append(type(node).__name__)
        nodes.extend(each for each, _ in node.next_functions if each is not None)
    return " ".join(names)


def test_a_layer_with_custom_messages_sends_them() -> None:
    class Silent(LGCNConv):
        def message(self, x_j: Tensor, alpha: Tensor, pos_i: OptTensor, pos_j: OptTensor) -> Tensor:
            return torch.zeros(*x_j.shape[:-1], x_j.shape[-1] + 2).to(x_j)

    conv, inputs = layer_inputs()
    silent = Silent(4, 5, connectivity=LearnableConnectivity(9)).double()
    silent.load_state_dict(conv.state_dict())
    torch.testing.assert_close(silent(*inputs), conv.lin_self(inputs[0]))
