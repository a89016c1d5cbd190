r"""The edge MLP over all pairs of landmarks, without ever holding a tensor of B x K x K x H.

.. math:: s_{bij} = \sum_h v_h\, \mathrm{ReLU}(T_{hij} + l_{hbi} + r_{hbj})

Written as it stands the sum reads and writes 4 B K^2 H numbers through memory, which is what an eager version spends
its time on. Here hidden units are taken a few at a time, so that what is held is a few times B K^2, and the backward
pass computes the units anew instead of keeping them. Second derivatives, forward-mode ones and transforms of
``torch.func`` are taken of the sum as it stands.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lgcn.checks import is_transformed

# So many numbers stay near the cores: then all units are taken at once, in the fewest operations.
_CACHED = 3 << 18
# PyTorch splits an elementwise operation of more numbers than this among threads. Beyond the caches, several units at
# a time pay only below it: above, the product that sums over units is split otherwise than the sums that make them,
# and the cores wait for each other's caches.
_GRAIN = 32768
# An accelerator wants large pieces; what it holds stays within 64 MB of single precision.
_PIECE = 1 << 24

_Sums = tuple[Tensor, Tensor, Tensor]


def pair_scores(table: Tensor, receiving: Tensor, neighbour: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Scores of all pairs of K landmarks in B images.

    Args:
        table: T [H, K, K], row i receiving.
        receiving: l [H, B, K], what the receiving node adds.
        neighbour: r [H, B, K], what its neighbour adds.
        weight: v [H].
        bias: [1], added to all scores.

    Returns:
        [B, K, K].
    """
    numbers = receiving.numel() * receiving.shape[-1]
    if torch.compiler.is_compiling():
        return _FusedPairScores.apply(table, receiving, neighbour, weight, bias)
    if is_transformed() or (table.device.type != "cpu" and numbers <= _PIECE):
        return _as_written(table, receiving, neighbour, weight, bias)
    if numbers <= _CACHED and not torch.is_grad_enabled():
        hidden = table.unsqueeze(1) + neighbour.unsqueeze(-2)
        hidden.add_(receiving.unsqueeze(-1)).relu_()
        return torch.addmv(bias, hidden.flatten(1).t(), weight).view(hidden.shape[1:])
    return _PairScores.apply(table, receiving, neighbour, weight, bias)


def _as_written(table: Tensor, receiving: Tensor, neighbour: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    hidden = table.unsqueeze(1) + receiving.unsqueeze(-1) + neighbour.unsqueeze(-2)
    return (hidden.relu() * weight.view(-1, 1, 1, 1)).sum(dim=0) + bias


class _PairScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, receiving: Tensor, neighbour: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(table, receiving, neighbour, weight)
        units, images, landmarks = receiving.shape
        # ReLU(x + l) = max(x, -l) + l, and the sum over h of v_h l_h needs no pairs.
        floor = -receiving.unsqueeze(-1)
        score = (weight @ receiving.flatten(1) + bias).view(images, landmarks, 1).repeat(1, 1, landmarks)
        pairs = max(1, images * landmarks**2)
        limit = _PIECE if table.device.type != "cpu" else _CACHED if units * pairs <= _CACHED else _GRAIN - 1
        step = max(1, min(units, limit // pairs))
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

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        # With ``create_graph`` gradients are differentiated again; ``is_grads_batched`` comes through an older vmap.
        batched = is_transformed() or torch._C._functorch.is_legacy_batchedtensor(grad)
        sums = _sums_as_written if torch.is_grad_enabled() or batched else _sums_let_through
        return _gradients(sums, grad, *ctx.saved_tensors)


class _FusedPairScores(torch.autograd.Function):
    """The same for a compiler, which makes one loop of the forward pass by itself.

    Of the way back it makes a tensor of H x B x K x K, or loops that run across the memory; on a CPU it is given ours.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, receiving: Tensor, neighbour: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(table, receiving, neighbour, weight)
        return _as_written(table, receiving, neighbour, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        sums = _opaque_sums if grad.device.type == "cpu" else _sums_as_written
        return _gradients(sums, grad, *ctx.saved_tensors)


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
    """What each unit lets through of a gradient [B, K, K].

    Returns:
        Its sums over images [H, K, K], over neighbours [H, B, K] and over receivers [H, B, K].
    """
    grad = grad.contiguous()
    images, landmarks, _ = grad.shape
    over_neighbours, over_receivers = torch.empty_like(receiving), torch.empty_like(neighbour)
    # Each thread sums over the images that it has written: what another core has read is slow to write again.
    parts = math.gcd(images, torch.get_num_threads()) if grad.device.type == "cpu" else 1
    over_images = table.new_empty(len(table), parts, landmarks, landmarks)
    # Overwritten by what the unit lets through: one block less in the caches.
    hidden = torch.empty_like(grad)
    of_part = hidden.view(parts, images // parts, landmarks, landmarks)
    values = (table, neighbour.unsqueeze(-2), receiving.unsqueeze(-1), over_images, over_receivers, over_neighbours)
    for of_pair, of_neighbour, of_receiver, pair, column, row in zip(*(each.unbind() for each in values), strict=True):
        torch.add(of_pair, of_neighbour, out=hidden)
        hidden.add_(of_receiver)
        torch.ops.aten.threshold_backward.grad_input(grad, hidden, 0, grad_input=hidden)
        torch.sum(of_part, dim=1, out=pair)
        torch.sum(hidden, dim=1, out=column)
        torch.sum(hidden, dim=2, out=row)
    return over_images.sum(dim=1), over_neighbours, over_receivers


def _sums_as_written(grad: Tensor, table: Tensor, receiving: Tensor, neighbour: Tensor) -> _Sums:
    hidden = table.unsqueeze(1) + receiving.unsqueeze(-1) + neighbour.unsqueeze(-2)
    through = torch.where(hidden > 0, grad, 0.0)
    return through.sum(dim=1), through.sum(dim=3), through.sum(dim=2)


_opaque_sums = torch.library.custom_op("lgcn::sums_let_through", _sums_let_through, mutates_args=(), device_types="cpu")


@_opaque_sums.register_fake
def _shapes_of_sums(grad: Tensor, table: Tensor, receiving: Tensor, neighbour: Tensor) -> _Sums:
    return torch.empty_like(table), torch.empty_like(receiving), torch.empty_like(neighbour)
