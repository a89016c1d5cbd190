r"""Weighted sums over neighbours as products with a sparse matrix.

.. math:: y_i = \sum_{(j, i) \in \mathcal{E}} e_{ji}\, x_j

Messages would take E x C numbers, written, read and scattered, and again in the backward pass. The same sum is the
product of a sparse matrix with x; its gradients are a product with the transposed matrix, and the products of rows of
the gradient and of x at the edges.
"""

import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor

from lgcn.checks import is_transformed
from lgcn.nn.functional.autocast import autocast_disabled


def has_sparse_product(x: Tensor, weight: Tensor) -> bool:
    """Whether :func:`weighted_sum` supports x and weights: both float32 or both float64, on a CPU with MKL.

    Compilers and transforms of torch.func do not support it.
    """
    return (
        not torch.compiler.is_compiling()
        and x.device.type == "cpu"
        and (x.dim(), weight.dim()) == (2, 1)
        and x.dtype == weight.dtype
        and x.dtype in (torch.float32, torch.float64)
        and torch.backends.mkl.is_available()
        and not is_transformed()
        and weight.numel() > 0
    )


def weighted_sum(x: Tensor, weight: Tensor, edge_index: Tensor, num_nodes: int) -> Tensor:
    """Sum x [N, C] over the neighbours of each of ``num_nodes`` receiving nodes, with weights [E].

    ``edge_index`` [2, E] holds neighbours in row 0 and receiving nodes in row 1, in any order. Indices are not checked,
    and a wrong one reads or writes other memory.
    """
    _silence_beta_warning()
    # Autocast would round what has_sparse_product found to have one precision.
    with autocast_disabled("cpu"):
        return _WeightedSum.apply(x, weight, edge_index[0], edge_index[1], num_nodes)


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, neighbor: Tensor, receiver: Tensor, num_nodes: int) -> Tensor:
        ctx.save_for_backward(x, weight, neighbor, receiver)
        return _matrix(receiver, neighbor, weight, (num_nodes, len(x)))[0] @ x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        x, weight, neighbor, receiver = ctx.saved_tensors
        grad_x = grad_weight = None
        if torch.is_grad_enabled():
            # For second derivatives, through messages that autograd can differentiate.
            messages = grad.index_select(0, receiver)
            grad_x = torch.zeros_like(x).index_add(0, neighbor, weight.unsqueeze(-1) * messages)
            grad_weight = (messages * x.index_select(0, neighbor)).sum(dim=-1)
            return grad_x, grad_weight, None, None, None
        with autocast_disabled("cpu"):
            if ctx.needs_input_grad[0]:
                grad_x = _matrix(neighbor, receiver, weight, (len(x), len(grad)))[0] @ grad
            if ctx.needs_input_grad[1]:
                zeros, order = _matrix(receiver, neighbor, torch.zeros_like(weight), (len(grad), len(x)))
                grad_weight = torch.sparse.sampled_addmm(zeros, grad.contiguous(), x.t(), beta=0.0).values()
                if order is not None:
                    grad_weight = torch.empty_like(grad_weight).index_copy_(0, order, grad_weight)
        return grad_x, grad_weight, None, None, None


def _matrix(row: Tensor, column: Tensor, value: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
    """The sparse matrix with these entries, and their order in it (None: as given)."""
    order = None
    if not bool((row[1:] >= row[:-1]).all()):
        order = row.argsort(stable=True)
        column, value = column[order], value[order]
    start = torch.zeros(size[0] + 1, dtype=torch.long)
    torch.cumsum(torch.bincount(row, minlength=size[0]), 0, out=start[1:])
    return torch.sparse_csr_tensor(start, column, value, size, check_invariants=False), order


@cache
def _silence_beta_warning() -> None:
    """Triggers and suppresses, once, the warning that compressed sparse tensors are in beta."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor(torch.tensor([0, 0]), torch.tensor([], dtype=torch.long), torch.tensor([]), (1, 1))
