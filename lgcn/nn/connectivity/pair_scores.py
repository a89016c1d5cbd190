r"""The edge MLP over all pairs of landmarks, without ever holding a tensor of B x K x K x H.

.. math:: s_{bij} = \sum_h v_h\, \mathrm{ReLU}(T_{hij} + l_{hbi} + r_{hbj})

Written as it stands the sum reads and writes 4 B K^2 H numbers through memory, which is what an eager version spends
its time on. Here hidden units are taken a few at a time, so that what is held is a few times B K^2, and the backward
pass computes the units anew instead of keeping them.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# So many numbers stay near the cores: then all units are taken at once, in the fewest operations.
_CACHED = 3 << 18
# PyTorch splits an elementwise operation of more numbers than this among threads. Beyond the caches, several units at
# a time pay only below it: above, the product that sums over units is split otherwise than the sums that make them,
# and the cores wait for each other's caches.
_GRAIN = 32768
# An accelerator wants large pieces; what it holds stays within 64 MB of single precision.
_PIECE = 1 << 24


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
    if torch.compiler.is_compiling() or (table.device.type != "cpu" and numbers <= _PIECE):
        # A compiler fuses this.
        hidden = table.unsqueeze(1) + receiving.unsqueeze(-1) + neighbour.unsqueeze(-2)
        return (hidden.relu() * weight.view(-1, 1, 1, 1)).sum(dim=0) + bias
    if numbers <= _CACHED and not torch.is_grad_enabled():
        hidden = table.unsqueeze(1) + neighbour.unsqueeze(-2)
        hidden.add_(receiving.unsqueeze(-1)).relu_()
        return torch.addmv(bias, hidden.flatten(1).t(), weight).view(hidden.shape[1:])
    score = _PairScores.apply(table, receiving, neighbour, weight)
    return score + bias if torch.is_grad_enabled() else score.add_(bias)


class _PairScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, receiving: Tensor, neighbour: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(table, receiving, neighbour, weight)
        units, images, landmarks = receiving.shape
        # ReLU(x + l) = max(x, -l) + l, and the sum over h of v_h l_h needs no pairs.
        floor = -receiving.unsqueeze(-1)
        score = (weight @ receiving.flatten(1)).view(images, landmarks, 1).repeat(1, 1, landmarks)
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
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        table, receiving, neighbour, weight = ctx.saved_tensors
        grad = grad.contiguous()
        grad_table, grad_receiving, grad_neighbour = map(torch.empty_like, (table, receiving, neighbour))
        # Overwritten by the gradient that the unit lets through: one block less in the caches.
        hidden = torch.empty_like(grad)
        values = (table, neighbour.unsqueeze(-2), receiving.unsqueeze(-1), grad_table, grad_neighbour, grad_receiving)
        for of_pair, of_neighbour, of_receiver, *sums in zip(*(each.unbind() for each in values), strict=True):
            torch.add(of_pair, of_neighbour, out=hidden)
            hidden.add_(of_receiver)
            torch.ops.aten.threshold_backward.grad_input(grad, hidden, 0, grad_input=hidden)
            for dim, out in enumerate(sums):
                torch.sum(hidden, dim=dim, out=out)
        # Where a unit is active its value is T + l + r, so the gradient of v follows from the three sums.
        parts = ((table, grad_table), (receiving, grad_receiving), (neighbour, grad_neighbour))
        grad_weight = sum((value * grad_value).sum(dim=(1, 2)) for value, grad_value in parts)
        scale = weight.view(-1, 1, 1)
        return grad_table * scale, grad_receiving * scale, grad_neighbour * scale, grad_weight
