r"""Weighted sums over neighbours as products with a sparse matrix: no message is ever written down.

.. math:: y_i = \sum_{(j, i) \in \mathcal{E}} e_{ji}\, x_j

Messages would fill E x C numbers, written, read and scattered, and again on the way back. The same sum is the product
of a sparse N x N matrix with x; its gradients are the product with the transposed matrix, and the products of rows
of the gradient and of x at the edges alone.
"""

import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor

from lgcn.checks import is_transformed
from lgcn.nn.functional.autocast import autocast_disabled


def has_sparse_product(x: Tensor, weight: Tensor, edge_index: Tensor) -> bool:
    """Whether :func:`weighted_sum` works on these.

    It takes x [N, C] and weights [E] of one precision, single or double, on a CPU with MKL, and neither a compiler nor
    the transforms of torch.func see through it. Indices are looked at, since a sparse product would read whatever lies
    at a wrong one.
    """
    return (
        x.device.type == "cpu"
        and (x.dim(), weight.dim(), edge_index.dim()) == (2, 1, 2)
        and x.dtype == weight.dtype
        and x.dtype in (torch.float32, torch.float64)
        and edge_index.dtype == torch.long
        and edge_index.shape == (2, len(weight))
        and torch.backends.mkl.is_available()
        and not is_transformed()
        and edge_index.numel() > 0
        and _are_indices(edge_index, len(x))
    )


def _are_indices(edge_index: Tensor, size: int) -> bool:
    least, most = torch.aminmax(edge_index)
    return int(least) >= 0 and int(most) < size


def weighted_sum(x: Tensor, weight: Tensor, edge_index: Tensor) -> Tensor:
    """Sums x over the neighbours of each node.

    Args:
        x: [N, C].
        weight: [E].
        edge_index: [2, E], neighbours in row 0, receiving nodes in row 1, in any order.

    Returns:
        [N, C].
    """
    _silence_torch()
    # Autocast would round what has_sparse_product has found to be of one precision.
    with autocast_disabled("cpu"):
        return _WeightedSum.apply(x, weight, edge_index[0], edge_index[1])


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, neighbour: Tensor, receiver: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, neighbour, receiver)
        return _matrix(receiver, neighbour, weight, len(x))[0] @ x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight, neighbour, receiver = ctx.saved_tensors
        grad_x = grad_weight = None
        if torch.is_grad_enabled():
            # Gradients of gradients are wanted: through messages PyTorch finds its own way.
            messages = grad.index_select(0, receiver)
            grad_x = torch.zeros_like(x).index_add(0, neighbour, weight.unsqueeze(-1) * messages)
            grad_weight = (messages * x.index_select(0, neighbour)).sum(dim=-1)
            return grad_x, grad_weight, None, None
        with autocast_disabled("cpu"):
            if ctx.needs_input_grad[0]:
                grad_x = _matrix(neighbour, receiver, weight, len(x))[0] @ grad
            if ctx.needs_input_grad[1]:
                zeros, order = _matrix(receiver, neighbour, torch.zeros_like(weight), len(x))
                grad_weight = torch.sparse.sampled_addmm(zeros, grad.contiguous(), x.t(), beta=0.0).values()
                if order is not None:
                    grad_weight = torch.empty_like(grad_weight).index_copy_(0, order, grad_weight)
        return grad_x, grad_weight, None, None


def _matrix(row: Tensor, column: Tensor, value: Tensor, size: int) -> tuple[Tensor, Tensor | None]:
    """The sparse size x size matrix with these entries, and their order in it (None: as they were)."""
    order = None
    if not bool((row[1:] >= row[:-1]).all()):
        order = row.argsort(stable=True)
        column, value = column[order], value[order]
    start = torch.zeros(size + 1, dtype=torch.long)
    torch.cumsum(torch.bincount(row, minlength=size), 0, out=start[1:])
    return torch.sparse_csr_tensor(start, column, value, (size, size), check_invariants=False), order


@cache
def _silence_torch() -> None:
    """Lets torch say once, unheard, that its compressed sparse tensors may still change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor(torch.tensor([0, 0]), torch.tensor([], dtype=torch.long), torch.tensor([]), (1, 1))
