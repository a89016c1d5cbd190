r"""The edge MLP over all pairs of landmarks, without a tensor of size B x K x K x H.

.. math:: s_{bij} = \sum_h v_h\, \mathrm{ReLU}(T_{hij} + l_{hbi} + r_{hbj})

As written, the sum moves 4 B K^2 H numbers through memory, which dominates the time of an eager version. Here hidden
units are reduced on the fly, a few at a time: memory is a few times B K^2, and the backward pass recomputes the units.
Second and forward-mode derivatives and the transforms of ``torch.func`` use the sum as written.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lgcn.checks import is_transformed

# Without gradients, up to this many numbers all units are taken together: 1.3 times faster for one image, K = 98.
AT_ONCE = 3 << 18
# Size of a block of units. Smaller blocks are dominated by operator overhead, larger ones by memory traffic.
_BLOCK = 1 << 19
# An accelerator needs large blocks; this is 64 MB in single precision.
_BLOCK_OF_ACCELERATOR = 1 << 24

_Sums = tuple[Tensor, Tensor, Tensor]


def pair_scores(table: Tensor, receiving: Tensor, neighbour: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Scores of all pairs of K landmarks in B images.

    Args:
        table: T [H, K, K], row i receiving.
        receiving: l [H, B, K], added by the receiving node.
        neighbour: r [H, B, K], added by its neighbour.
        weight: v [H].
        bias: [1], added to all scores.

    Returns:
        [B, K, K].
    """
    arguments, numbers = (table, receiving, neighbour, weight, bias), receiving.numel() * receiving.shape[-1]
    if torch.compiler.is_compiling():
        return _PairScores.apply(*arguments)
    if is_transformed() or (table.device.type != "cpu" and numbers <= _BLOCK_OF_ACCELERATOR):
        return _as_written(*arguments)
    if numbers <= AT_ONCE and not torch.is_grad_enabled():
        hidden = table.unsqueeze(1) + neighbour.unsqueeze(-2)
        hidden.add_(receiving.unsqueeze(-1)).relu_()
        return torch.addmv(bias, hidden.flatten(1).t(), weight).view(hidden.shape[1:])
    return _PairScores.apply(*arguments)


def _as_written(table: Tensor, receiving: Tensor, neighbour: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    hidden = table.unsqueeze(1) + receiving.unsqueeze(-1) + neighbour.unsqueeze(-2)
    return (hidden.relu() * weight.view(-1, 1, 1, 1)).sum(dim=0) + bias


def _in_blocks(table: Tensor, receiving: Tensor, neighbour: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    _, images, landmarks = receiving.shape
    # ReLU(x + l) = max(x, -l) + l, and the sum over h of v_h l_h does not depend on the neighbour.
    floor = -receiving.unsqueeze(-1)
    score = (weight @ receiving.flatten(1) + bias).view(images, landmarks, 1).repeat(1, 1, landmarks)
    step = _units_at_once(table, images)
    scratch = score.new_empty(step, images, landmarks, landmarks)
    blocks = (each.split(step) for each in (table.unsqueeze(1), neighbour.unsqueeze(-2), floor, weight))
    for of_pair, of_neighbour, least, factor in zip(*blocks, strict=True):
        hidden = scratch[: len(factor)]
        torch.add(of_pair, of_neighbour, out=hidden)
        torch.maximum(hidden, least, out=hidden)
        if len(factor) == 1:
            score.addcmul_(hidden[0], factor)
        else:
            score.view(-1).addmv_(hidden.view(len(factor), -1).t(), factor)
    return score


class _PairScores(torch.autograd.Function):
    """Blocks of units: 14 times faster than the sum as written at K = 98, B = 32, and 5 times in training.

    A compiler makes one loop of the sum as written, and one of each sum of this backward pass: compiled training is 3
    times faster with it, too.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, receiving: Tensor, neighbour: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(table, receiving, neighbour, weight)
        compute = _as_written if torch.compiler.is_compiling() else _in_blocks
        return compute(table, receiving, neighbour, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        if torch.compiler.is_compiling():
            return _gradients(_sums_one_by_one, _written_down(grad), *ctx.saved_tensors)
        # ``create_graph`` differentiates gradients again; ``is_grads_batched`` uses a legacy vmap.
        batched = is_transformed() or torch._C._functorch.is_legacy_batchedtensor(grad)
        sums = _sums_one_by_one if torch.is_grad_enabled() or batched else _sums_let_through
        return _gradients(sums, grad, *ctx.saved_tensors)


def _units_at_once(table: Tensor, images: int) -> int:
    """Number of units in a block [units, B, K, K]."""
    units, landmarks, _ = table.shape
    limit = _BLOCK if table.device.type == "cpu" else _BLOCK_OF_ACCELERATOR
    return max(1, min(units, limit // max(1, images * landmarks**2)))


def _gradients(
    sums: Callable[..., _Sums], grad: Tensor, table: Tensor, receiving: Tensor, neighbour: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of T, l, r, v and the bias."""
    through = sums(grad, table, receiving, neighbour)
    # Where a unit is active its value is T + l + r, so the gradient of v follows from the three sums.
    values = zip((table, receiving, neighbour), through, strict=True)
    grad_weight = torch.stack([(value * each).sum(dim=(1, 2)) for value, each in values]).sum(dim=0)
    grad_table, grad_receiving, grad_neighbour = (each * weight.view(-1, 1, 1) for each in through)
    return grad_table, grad_receiving, grad_neighbour, grad_weight, grad.sum().view(1)


def _sums_let_through(grad: Tensor, table: Tensor, receiving: Tensor, neighbour: Tensor) -> _Sums:
    """Sums of the share of a gradient [B, K, K] that flows through each unit.

    Returns:
        Its sums over images [H, K, K], over neighbours [H, B, K] and over receivers [H, B, K].
    """
    grad = grad.contiguous()
    images, landmarks, _ = grad.shape
    step = _units_at_once(table, images)
    # Each thread gets its own units or, of a single unit, its own images: shared cache lines are slow to write.
    parts = math.gcd(images, torch.get_num_threads()) if step == 1 and grad.device.type == "cpu" else 1
    over_images = table.new_empty(len(table), parts, landmarks, landmarks)
    over_neighbours, over_receivers = torch.empty_like(receiving), torch.empty_like(neighbour)
    scratch = grad.new_empty(step, images, landmarks, landmarks)
    values = (table.unsqueeze(1), neighbour.unsqueeze(-2), receiving.unsqueeze(-1))
    blocks = (each.split(step) for each in (*values, over_images, over_receivers, over_neighbours))
    for of_pair, of_neighbour, of_receiver, pair, column, row in zip(*blocks, strict=True):
        hidden = scratch[: len(of_pair)]
        torch.add(of_pair, of_neighbour, out=hidden)
        hidden.add_(of_receiver)
        # In place: one block less in the caches.
        torch.ops.aten.threshold_backward.grad_input(grad.expand_as(hidden), hidden, 0, grad_input=hidden)
        torch.sum(hidden.unflatten(1, (parts, images // parts)), dim=2, out=pair)
        torch.sum(hidden, dim=2, out=column)
        torch.sum(hidden, dim=3, out=row)
    return over_images.sum(dim=1) if parts > 1 else over_images.squeeze(1), over_neighbours, over_receivers


def _sums_one_by_one(grad: Tensor, table: Tensor, receiving: Tensor, neighbour: Tensor) -> _Sums:
    """The same sums as three expressions that can be compiled, differentiated and batched.

    They share nothing on purpose: a compiler would store a shared part of size H x B x K x K, and would fuse sums over
    i and over j in the same order into one loop with strided access.
    """
    pairs, rows, columns = table.unsqueeze(1), receiving.unsqueeze(-1), neighbour.unsqueeze(-2)
    over_images = torch.where((pairs + rows) + columns > 0, grad, 0.0).sum(dim=1)
    over_neighbours = torch.where(pairs + (rows + columns) > 0, grad, 0.0).sum(dim=3)
    rows, columns = rows.transpose(0, 1), columns.transpose(0, 1)
    over_receivers = torch.where((table + columns) + rows > 0, grad.unsqueeze(1), 0.0).sum(dim=2).transpose(0, 1)
    return over_images, over_neighbours, over_receivers


@torch.library.custom_op("lgcn::written_down", mutates_args=())
def _written_down(values: Tensor) -> Tensor:
    """A copy that is opaque to compilers, which would otherwise recompute the values for each unit of each sum."""
    return values.clone(memory_format=torch.contiguous_format)


@_written_down.register_fake
def _like(values: Tensor) -> Tensor:
    return torch.empty_like(values, memory_format=torch.contiguous_format)
