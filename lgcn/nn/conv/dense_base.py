"""The forward pass of layers and stacks on complete graphs, for training and for inference."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from lgcn.checks import InputError, check_devices, check_mask, check_shape
from lgcn.nn.conv.base import check_like, find_unread, first_parameter, mask_rows
from lgcn.nn.functional.displacement import mean_displacement


class DenseGraphModule(nn.Module):
    """Checks inputs, computes what layers share, and leaves the layers themselves to :meth:`convolve`."""

    connectivity: Any
    """A :class:`lgcn.nn.Connectivity`, or None for a layer that is given its weights."""
    shape_features: Any
    """A flag, or a list of one a layer."""

    @abstractmethod
    def initialize_lazily(self, source: Tensor, target: Tensor) -> tuple[int, int]:
        """Create parameters whose size was given as -1, and return the channels of both inputs."""

    @abstractmethod
    def convolve(self, x: Tensor, edge_weight: Tensor, displacement: Tensor | None, mask: Tensor | None) -> Tensor:
        """Run all layers, without checks.

        Args:
            x: [B, K, C], 0 where a landmark is missing.
            edge_weight: [B, K, K].
            displacement: [B, K, 2], of :func:`lgcn.nn.functional.displacement.mean_displacement`; None without shape
                features.
            mask: [B, K].
        """

    def forward(
        self,
        x: Tensor,
        pos: Tensor | None = None,
        confidence: Tensor | None = None,
        edge_weight: Tensor | None = None,
        mask: Tensor | None = None,
        return_connectivity: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Run the forward pass.

        Args:
            x: [B, K, in_channels], node k of type k.
            pos: [B, K, 2], the initial positions, used by every layer with shape features.
            confidence: [B, K], finite, normally in [0, 1]; needed without ``edge_weight``.
            edge_weight: [B, K, K] or [K, K], used instead of the connectivity; row i holds the weights of i's
                neighbours. A landmark with weight 0 to all affects no other, even if its values are not finite.
            mask: [B, K], False where a landmark is missing: it is no node's neighbour, also with given weights, and
                its output is 0. Values at a missing landmark are not read.
            return_connectivity: return ``(out, edge_weight)`` with edge weights [B, K, K].

        Raises:
            InputError: for shapes, types or values that do not fit (values are checked on the CPU only, and nothing
                is checked while compiling).
        """
        check_shape("x", x, "B K C")
        check_shape("x", x, "B K C", C=self.initialize_lazily(x, x)[0])
        parameter = first_parameter(self)
        check_like(parameter, x=x)
        images, landmarks = x.shape[:2]
        needs_positions = any(self.shape_features) if isinstance(self.shape_features, list) else self.shape_features
        if pos is not None:
            check_shape("pos", pos, "B K 2", B=images, K=landmarks)
            check_like(parameter, dtype=False, pos=pos)
        elif needs_positions:
            raise InputError("Expected 'pos' [B, K, 2] for shape features (got None). Or set shape_features=False.")
        if confidence is not None:
            check_shape("confidence", confidence, "B K", B=images, K=landmarks)
        if mask is not None:
            check_mask("mask", mask, "B K", B=images, K=landmarks)
            check_devices(x.device, "'x'", mask=mask)
        complete = False
        if edge_weight is not None:
            check_shape("edge_weight", edge_weight, "... K K", K=landmarks)
            if edge_weight.dim() != 2 and list(edge_weight.shape) != [1, landmarks, landmarks]:
                check_shape("edge_weight", edge_weight, "B K K", B=images, K=landmarks)
            check_like(parameter, edge_weight=edge_weight)
            weight = edge_weight.expand(images, -1, -1)
            if mask is not None:
                weight = torch.where(mask.unsqueeze(-1) & mask.unsqueeze(-2), weight, 0.0)
        elif self.connectivity is None or confidence is None:
            raise InputError("Expected 'edge_weight' [B, K, K], or a connectivity and 'confidence' [B, K] (got None).")
        else:
            weight = self.connectivity.dense(confidence, mask)
            complete = mask is None and self.connectivity.sums_to_one

        pos = pos if needs_positions else None
        x, pos = mask_rows(x, mask), None if pos is None else mask_rows(pos, mask)
        unread = None if complete else find_unread(lambda: (weight != 0).any(dim=-2), x, pos)
        if unread is not None:
            mask = ~unread if mask is None else mask & ~unread
            x, pos = mask_rows(x, mask), None if pos is None else mask_rows(pos, mask)
        displacement = None if pos is None else mean_displacement(pos, weight, complete)
        out = mask_rows(self.convolve(x, weight, displacement, mask), mask)
        if unread is not None:
            out = out.masked_fill(unread.unsqueeze(-1), torch.nan)
        return (out, weight) if return_connectivity else out
