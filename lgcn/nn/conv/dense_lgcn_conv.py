"""The paper's graph convolution on complete graphs of K landmarks."""

from typing import Literal, overload

import torch
from torch import Tensor, nn

from lgcn.checks import InputError, check_mask, check_shape
from lgcn.nn.connectivity import Connectivity
from lgcn.nn.conv.base import LGCNConvBase, SharedEdges, mask_rows, mask_weights
from lgcn.nn.functional.displacement import mean_displacement


class DenseLGCNConv(LGCNConvBase):
    r"""The dense counterpart of :class:`lgcn.nn.LGCNConv`, with the same parameters and results.

    .. math::
        \mathbf{h}'_i = \mathbf{W}_1 \mathbf{h}_i + \sum_j e_{ij} \mathbf{W}_{2h} \mathbf{h}_j +
        \mathbf{W}_{2q} \sum_j e_{ij} \mathbf{q}_{ij} + \mathbf{b}

    The last sum has two channels and is the same in all layers that share positions and weights.

    Args:
        in_channels (int): Size of each input sample, or :obj:`-1` to derive it from the first input.
        out_channels (int): Size of each output sample.
        connectivity (Connectivity, optional): Computes :math:`e_{ij}`; without it ``edge_weight`` must be given.
            (default: :obj:`None`)
        shape_features (bool, optional): If set to :obj:`False`, :math:`\mathbf{q}_{ij}` is left out.
            (default: :obj:`True`)
        bias (bool, optional): If set to :obj:`False`, there is no bias. (default: :obj:`True`)

    Shapes:
        - **input:** node features :math:`(B, K, F_{in})`, positions :math:`(B, K, 2)`, confidences :math:`(B, K)` or
          edge weights :math:`(B, K, K)`, row i receiving
        - **output:** node features :math:`(B, K, F_{out})`, or :math:`((B, K, F_{out}), (B, K, K))` if
          :obj:`return_connectivity=True`
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        connectivity: Connectivity | None = None,
        shape_features: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, connectivity, shape_features, bias)
        self.reset_parameters()

    @overload
    def forward(
        self,
        x: Tensor,
        pos: Tensor | None = ...,
        confidence: Tensor | None = ...,
        edge_weight: Tensor | SharedEdges | None = ...,
        mask: Tensor | None = ...,
        return_connectivity: Literal[False] = ...,
    ) -> Tensor: ...

    @overload
    def forward(
        self,
        x: Tensor,
        pos: Tensor | None = ...,
        confidence: Tensor | None = ...,
        edge_weight: Tensor | SharedEdges | None = ...,
        mask: Tensor | None = ...,
        *,
        return_connectivity: Literal[True],
    ) -> tuple[Tensor, Tensor]: ...

    def forward(
        self,
        x: Tensor,
        pos: Tensor | None = None,
        confidence: Tensor | None = None,
        edge_weight: Tensor | SharedEdges | None = None,
        mask: Tensor | None = None,
        return_connectivity: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Runs the forward pass.

        Args:
            x: [B, K, in_channels], node k of type k.
            pos: [B, K, 2], positions; needed with shape features.
            confidence: [B, K], in [0, 1]; needed without ``edge_weight``.
            edge_weight: [B, K, K] or [K, K], used instead of the connectivity; row i holds the weights of i's
                neighbours.
            mask: [B, K], False where a landmark is missing: it is nobody's neighbour, also with given weights, and
                its output is 0. Values at a missing landmark are not read.
            return_connectivity: return ``(out, edge_weight)``.

        Raises:
            InputError: for shapes, types or values that do not fit (values are checked on the CPU only, and nothing
                is checked while compiling).
        """
        if isinstance(edge_weight, SharedEdges):
            self.initialize_lazily(x, x)
            return self.convolve(x, edge_weight.weight, edge_weight.displacement)
        check_shape("x", x, "B K C")
        check_shape("x", x, "B K C", C=self.initialize_lazily(x, x)[0])
        check_dense_inputs(x, pos, mask, self.shape_features)
        x = mask_rows(x, mask)
        weight = dense_weights(self.connectivity, x, confidence, edge_weight, mask)
        displacement = None
        if self.shape_features and pos is not None:
            displacement = mean_displacement(mask_rows(pos, mask), weight)
        out = mask_rows(self.convolve(x, weight, displacement), mask)
        return (out, weight) if return_connectivity else out

    def convolve(self, x: Tensor, edge_weight: Tensor, displacement: Tensor | None) -> Tensor:
        """:meth:`forward` without checks.

        Args:
            x: [B, K, in_channels], 0 where a landmark is missing.
            edge_weight: [B, K, K].
            displacement: [B, K, 2], needed with shape features.
        """
        own, (of_features, of_displacement) = self.lin_self(x), self.neighbor_weights
        if x.shape[-1] >= 2 * self.out_channels:
            # Sum over neighbours in the narrower of both spaces.
            out = own + torch.bmm(edge_weight, x @ of_features.t())
            return out if not self.shape_features else out + displacement @ of_displacement.t()
        received = torch.bmm(edge_weight, x)
        if self.shape_features:
            assert displacement is not None
            received = torch.cat([received, displacement], dim=-1)
        weight = self.lin_neighbor.weight
        return torch.addmm(own.flatten(0, 1), received.flatten(0, 1), weight.t()).view_as(own)

    def for_inference(self) -> nn.Module:
        """A copy for inference, see :meth:`Connectivity.for_inference <lgcn.nn.Connectivity.for_inference>`."""
        from lgcn.nn.inference import dense_conv_for_inference

        return dense_conv_for_inference(self)


def check_dense_inputs(x: Tensor, pos: Tensor | None, mask: Tensor | None, shape_features: bool) -> None:
    """Checks what depends on the shape of x [B, K, C].

    Raises:
        InputError: naming the argument.
    """
    images, landmarks = x.shape[:2]
    if shape_features and pos is None:
        raise InputError("Expected 'pos' [B, K, 2] for shape features (got None). Or set shape_features=False.")
    if pos is not None:
        check_shape("pos", pos, "B K 2", B=images, K=landmarks)
    if mask is not None:
        check_mask("mask", mask, "B K", B=images, K=landmarks)


def dense_weights(
    connectivity: Connectivity | None,
    x: Tensor,
    confidence: Tensor | None,
    edge_weight: Tensor | None,
    mask: Tensor | None,
) -> Tensor:
    """Edge weights [B, K, K], given or computed, without edges of missing landmarks.

    Raises:
        InputError: naming the argument.
    """
    images, landmarks = x.shape[:2]
    if confidence is not None:
        check_shape("confidence", confidence, "B K", B=images, K=landmarks)
    if edge_weight is None:
        if connectivity is None or confidence is None:
            raise InputError("Expected 'edge_weight' [B, K, K], or a connectivity and 'confidence' [B, K] (got None).")
        return connectivity.dense(confidence, mask)
    check_shape("edge_weight", edge_weight, "... K K", K=landmarks)
    if edge_weight.dim() > 2 and edge_weight.shape[0] != 1:
        check_shape("edge_weight", edge_weight, "B K K", B=images, K=landmarks)
    weight = edge_weight.expand(images, -1, -1)
    return weight if mask is None else mask_weights(weight, mask.unsqueeze(-1), mask.unsqueeze(-2))
