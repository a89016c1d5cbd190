"""The paper's graph convolution on complete graphs of K landmarks."""

from abc import abstractmethod
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn

from lgcn.checks import InputError, check_devices, check_mask, check_shape
from lgcn.nn.conv.base import LGCNConvBase, check_like, first_parameter, mask_rows
from lgcn.nn.functional.displacement import mean_displacement


class DenseGraphModule(nn.Module):
    """The forward pass of layers and stacks on complete graphs: checks, edge weights, displacements, masks.

    The layers themselves are left to :meth:`convolve`.
    """

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

        ``x`` [B, K, C] is 0 where a landmark is missing; ``displacement`` [B, K, 2] of :func:`mean_displacement` is
        None without shape features.
        """

    @overload
    def forward(self, x: Tensor, *args: Any, return_connectivity: Literal[False] = ..., **kwargs: Any) -> Tensor: ...

    @overload
    def forward(
        self, x: Tensor, *args: Any, return_connectivity: Literal[True], **kwargs: Any
    ) -> tuple[Tensor, Tensor]: ...

    def forward(  # type: ignore[misc]
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
                neighbours.
            mask: [B, K], False where a landmark is missing: it is no node's neighbour, also with given weights, and
                its output is 0. Values at a missing landmark are not read. With given weights, mask what is not finite:
                0 times NaN is NaN.
            return_connectivity: return ``(out, edge_weight)`` with edge weights [B, K, K].

        Raises:
            InputError: for shapes, types or values that do not fit (values are checked on the CPU only, and nothing
                is checked while compiling).
        """
        check_shape("x", x, "B K C")
        check_shape("x", x, "B K C", C=self.initialize_lazily(x, x)[0])
        B, K, _ = x.shape
        parameter = first_parameter(self)
        check_like(parameter, x=x, edge_weight=edge_weight)
        check_like(parameter, dtype=False, pos=pos)
        if confidence is not None:
            check_shape("confidence", confidence, "B K", B=B, K=K)
        if mask is not None:
            check_mask("mask", mask, "B K", B=B, K=K)
            check_devices(x.device, "'x'", mask=mask)
        if pos is not None:
            check_shape("pos", pos, "B K 2", B=B, K=K)
        if not (any(self.shape_features) if isinstance(self.shape_features, list) else self.shape_features):
            pos = None
        elif pos is None:
            raise InputError("Expected 'pos' [B, K, 2] for shape features (got None). Or set shape_features=False.")
        if edge_weight is not None:
            images = 1 if edge_weight.shape[:1] == (1,) else B
            check_shape("edge_weight", edge_weight, "K K" if edge_weight.dim() == 2 else "B K K", B=images, K=K)
            weight = edge_weight.expand(B, -1, -1)
            if mask is not None:
                weight = torch.where(mask.unsqueeze(-1) & mask.unsqueeze(-2), weight, 0.0)
        elif self.connectivity is None or confidence is None:
            raise InputError("Expected 'edge_weight' [B, K, K], or a connectivity and 'confidence' [B, K] (got None).")
        else:
            weight = self.connectivity.dense(confidence, mask)

        x, pos = mask_rows(x, mask), None if pos is None else mask_rows(pos, mask)
        displacement = None if pos is None else mean_displacement(pos, weight)
        out = mask_rows(self.convolve(x, weight, displacement, mask), mask)
        return (out, weight) if return_connectivity else out


class DenseConvBase(LGCNConvBase):
    """Eq. 4 on complete graphs."""

    def convolve(
        self, x: Tensor, edge_weight: Tensor, displacement: Tensor | None, mask: Tensor | None = None
    ) -> Tensor:
        """Features [B, K, C'], see :meth:`DenseGraphModule.convolve`."""
        of_features, of_displacement = self.neighbor_weights
        out = torch.baddbmm(self.lin_self(x), edge_weight, x @ of_features.t())
        return out + displacement @ of_displacement.t() if self.shape_features and displacement is not None else out


class DenseLayer(DenseConvBase):
    """A layer of :class:`lgcn.nn.DenseLGCN`, which checks inputs and computes what its layers share."""

    forward = DenseConvBase.convolve


class DenseLGCNConv(DenseConvBase, DenseGraphModule):
    r"""The dense counterpart of :class:`lgcn.nn.LGCNConv`, with the same arguments, parameters and results.

    .. math::
        \mathbf{h}'_i = \mathbf{W}_1 \mathbf{h}_i + \sum_j e_{ij} \mathbf{W}_{2h} \mathbf{h}_j +
        \mathbf{W}_{2q} \sum_j e_{ij} \mathbf{q}_{ij} + \mathbf{b}

    The last sum has two channels and is the same in all layers that share positions and weights.

    Shapes:
        - **input:** node features :math:`(B, K, F_{in})`, positions :math:`(B, K, 2)`, confidences :math:`(B, K)` or
          edge weights :math:`(B, K, K)`, row i receiving
        - **output:** node features :math:`(B, K, F_{out})`, or :math:`((B, K, F_{out}), (B, K, K))` if
          :obj:`return_connectivity=True`
    """
