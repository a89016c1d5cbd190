"""The paper's graph convolution on complete graphs of K landmarks: matrices instead of edge lists."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lgcn.checks import InputError, check_mask, check_shape, is_plain_inference
from lgcn.nn.connectivity import Connectivity
from lgcn.nn.functional.autocast import autocast_disabled

# Below so many, calling operations costs more than what they do.
_FEW_NODES = 512


def are_few(x: Tensor, pos: Tensor, confidence: Tensor, channels: int) -> bool:
    """Whether these fit together, and are so few at inference that calling operations costs more than what they do."""
    return (
        is_plain_inference(x)
        and confidence.numel() <= _FEW_NODES
        and x.shape == (*confidence.shape, channels)
        and pos.shape == (*confidence.shape, 2)
        and x.dtype == pos.dtype
        and x.dtype in (torch.float32, torch.float64)
    )


def for_all_images(edge_weight: Tensor, images: int, landmarks: int) -> Tensor:
    """Weights [B, K, K] of weights for each image, or of one matrix for all.

    Raises:
        InputError: for another shape.
    """
    if edge_weight.shape == (images, landmarks, landmarks):
        return edge_weight
    several = edge_weight.dim() == 3 and edge_weight.shape[0] != 1
    check_shape("edge_weight", edge_weight, "B K K" if several else "... K K", B=images, K=landmarks)
    return edge_weight.expand(images, -1, -1)


def without_missing(edge_weight: Tensor, mask: Tensor) -> Tensor:
    """Weights [B, K, K] that are 0 on all edges of landmarks that ``mask`` [B, K] says are missing."""
    return edge_weight.masked_fill(~(mask.unsqueeze(-1) & mask.unsqueeze(-2)), 0.0)


def toward_origin(pos: Tensor, mask: Tensor | None = None) -> Tensor:
    """From each position to one point among them, [B, K, 2]; 0 where a landmark is missing.

    Only differences of positions enter a layer. Sums of these are as exact far from the origin of the image as near it.
    The point drops out of them, and no gradient goes through it: the first landmark, or the mean of those that are
    there where some may be missing.
    """
    if mask is None:
        return pos.detach()[..., :1, :] - pos
    there = mask.unsqueeze(-1)
    pos = pos.masked_fill(~there, 0.0)
    share = there / there.sum(dim=-2, keepdim=True).clamp_min(1)
    mean = (pos.detach() * share.to(pos.dtype)).sum(dim=-2, keepdim=True)
    return (mean - pos).masked_fill(~there, 0.0)


def mean_displacement(
    pos: Tensor, edge_weight: Tensor, sums_to_one: bool = False, mask: Tensor | None = None
) -> Tensor:
    r"""The shape features a node receives, :math:`\sum_j e_{ij} \mathbf{q}_{ij}`, [B, K, 2], not rounded by autocast.

    Args:
        pos: [B, K, 2].
        edge_weight: [B, K, K], row i holds the weights of i's neighbours; 0 at those that are missing.
        sums_to_one: whether each row is known to do so.
        mask: [B, K], False where a landmark is missing.
    """
    with autocast_disabled(pos.device.type):
        away = toward_origin(pos, mask)
        if away.dtype != edge_weight.dtype:
            dtype = torch.promote_types(pos.dtype, edge_weight.dtype)
            away, edge_weight = away.to(dtype), edge_weight.to(dtype)
        if sums_to_one:
            # The sign stands where it is cheap: a factor would go through all K x K gradients.
            return torch.baddbmm(away, edge_weight, away, beta=-1)
        return edge_weight @ away - edge_weight.sum(dim=-1, keepdim=True) * away


def receive(
    x: Tensor, pos: Tensor, edge_weight: Tensor, sums_to_one: bool = False, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Sums of x over the neighbours, [B, K, C], and :func:`mean_displacement`, by one product, and one on the way back.

    Two under autocast, which rounds the first.

    Args:
        x: [B, K, C].
        pos: [B, K, 2].
        edge_weight: [B, K, K], row i holds the weights of i's neighbours; 0 at those that are missing.
        sums_to_one: whether each row is known to do so.
        mask: [B, K], False where a landmark is missing.
    """
    if torch.is_autocast_enabled(x.device.type):
        return torch.bmm(edge_weight, x), mean_displacement(pos, edge_weight, sums_to_one, mask)
    away = toward_origin(pos, mask)
    parts = [x, away] if sums_to_one else [x, away, torch.ones_like(away[..., :1])]
    received = torch.bmm(edge_weight, torch.cat(parts, dim=-1))
    total, ends = received[..., : x.shape[-1]], received[..., x.shape[-1] :]
    return total, ends - away if sums_to_one else torch.addcmul(ends[..., :2], ends[..., 2:], away, value=-1)


def join(x: Tensor, pos: Tensor, edge_weight: Tensor) -> Tensor:
    """All that a frozen layer makes a node's output of: x, the neighbours' x and ways to the origin, and its own way.

    The last four columns do not depend on x: layers that share positions and weights have them in common.

    Args:
        x: [B, K, C].
        pos: [B, K, 2].
        edge_weight: [B, K, K], each row sums to one.

    Returns:
        [B, K, 2 C + 4].
    """
    away = pos[..., :1, :] - pos
    return torch.cat([x, torch.bmm(edge_weight, torch.cat([x, away], dim=-1)), away], dim=-1)


class DenseLGCNConv(nn.Module):
    r"""The twin of :class:`lgcn.nn.LGCNConv` on ``[B, K, C]``: same parameters, same results, no edge list.

    .. math::
        \mathbf{h}'_i = \mathbf{W}_1 \mathbf{h}_i + \sum_j e_{ij} \mathbf{W}_{2h} \mathbf{h}_j +
        \mathbf{W}_{2q} \sum_j e_{ij} \mathbf{q}_{ij} + \mathbf{b}

    The last sum has two channels and is the same in all layers that share positions and weights.

    Args:
        in_channels (int): Channels of the input features.
        out_channels (int): Channels of the output features.
        connectivity (Connectivity, optional): Computes :math:`e_{ij}`; without it ``edge_weight`` must be given.
            (default: :obj:`None`)
        shape_features (bool, optional): Whether :math:`\mathbf{q}_{ij}` is concatenated. (default: :obj:`True`)
        bias (bool, optional): Whether a bias is added. (default: :obj:`True`)

    Shapes:
        - **input:** node features :math:`(B, K, F_{in})`, positions :math:`(B, K, 2)`, confidences :math:`(B, K)` or
          edge weights :math:`(B, K, K)`, row i receiving
        - **output:** node features :math:`(B, K, F_{out})`, or :math:`((B, K, F_{out}), (B, K, K))` if
          :obj:`return_connectivity=True`
    """

    _frozen_weight: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        connectivity: Connectivity | None = None,
        shape_features: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.connectivity = connectivity
        self.shape_features = shape_features
        self.lin_self = nn.Linear(in_channels, out_channels, bias=bias)
        self.lin_neighbor = nn.Linear(in_channels + 2 * shape_features, out_channels, bias=False)
        self.register_buffer("_frozen_weight", None, persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self._frozen_weight = None
        self.lin_self.reset_parameters()
        self.lin_neighbor.reset_parameters()
        if self.connectivity is not None:
            self.connectivity.reset_parameters()

    def frozen(self) -> "DenseLGCNConv":
        """A copy for inference, see :meth:`Connectivity.frozen`: what is left to compute depends on the image.

        Weights that it loads later count, but not what else is done to its parameters.
        """
        frozen = copy.deepcopy(self).eval().requires_grad_(False)
        if self.connectivity is not None:
            frozen.connectivity = self.connectivity.frozen()
        with torch.no_grad():
            weight = frozen._side_by_side()
            # The displacement is what comes from the neighbours less the node's own, see join.
            frozen._frozen_weight = torch.cat([weight, -weight[:, -2:]], dim=1) if self.shape_features else weight
        return frozen

    def train(self, mode: bool = True) -> "DenseLGCNConv":
        if mode:
            self._frozen_weight = None
        return super().train(mode)

    def forward(
        self,
        x: Tensor,
        pos: Tensor | None = None,
        confidence: Tensor | None = None,
        edge_weight: Tensor | None = None,
        mask: Tensor | None = None,
        displacement: Tensor | None = None,
        return_connectivity: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Runs the layer.

        Args:
            x: [B, K, in_channels], node k of type k.
            pos: [B, K, 2], positions; needed with shape features.
            confidence: [B, K], in [0, 1]; needed where no ``edge_weight`` is given.
            edge_weight: [B, K, K], used as it is instead of the connectivity; row i holds the weights of i's
                neighbours.
            mask: [B, K], False where a landmark is missing: nobody's neighbour, whoever gives the weights, and its
                output is 0. What stands there is not read.
            displacement: [B, K, 2], :func:`mean_displacement` where it is known already; then ``pos`` is not read.
            return_connectivity: return ``(out, edge_weight)``.
        """
        if mask is None and edge_weight is None and displacement is None:
            at_once = self._forward_at_once(x, pos, confidence)
            if at_once is not None:
                return at_once if return_connectivity else at_once[0]
        check_shape("x", x, "B K C", C=self.in_channels)
        images, landmarks = x.shape[:2]
        if mask is not None:
            check_mask("mask", mask, "B K", B=images, K=landmarks)
            x = x.masked_fill(~mask.unsqueeze(-1), 0.0)
        sums_to_one = False
        if edge_weight is None:
            if self.connectivity is None or confidence is None:
                raise InputError(
                    "Expected 'edge_weight' [B, K, K], or a connectivity and 'confidence' [B, K] (got None)."
                )
            check_shape("confidence", confidence, "B K", B=images, K=landmarks)
            edge_weight = self.connectivity.dense(confidence, mask)
            sums_to_one = mask is None and self.connectivity.sums_to_one
        else:
            edge_weight = for_all_images(edge_weight, images, landmarks)
            edge_weight = edge_weight if mask is None else without_missing(edge_weight, mask)
        if displacement is not None:
            check_shape("displacement", displacement, "B K 2", B=images, K=landmarks)
        elif self.shape_features:
            if pos is None:
                raise InputError("Expected 'pos' [B, K, 2] for shape features (got None). Or shape_features=False.")
            check_shape("pos", pos, "B K 2", B=images, K=landmarks)
        out = self._convolve(x, edge_weight, pos, displacement, sums_to_one, mask)
        if mask is not None:
            out = out * mask.unsqueeze(-1)
        return (out, edge_weight) if return_connectivity else out

    def _convolve(
        self,
        x: Tensor,
        edge_weight: Tensor,
        pos: Tensor | None,
        displacement: Tensor | None,
        sums_to_one: bool,
        mask: Tensor | None,
    ) -> Tensor:
        eager_inference = not (torch.is_grad_enabled() or torch.compiler.is_compiling())
        few = eager_inference and x.shape[0] * x.shape[1] <= _FEW_NODES
        # Sums over neighbours first: one product more of wide features, fewer operations, and none that is skinny.
        sums_first = few or self.out_channels < 8 or self.in_channels < 2 * self.out_channels
        sent = x if sums_first else x @ self.lin_neighbor.weight[:, : self.in_channels].t()
        if not self.shape_features:
            received, displacement = torch.bmm(edge_weight, sent), None
        elif displacement is not None:
            received = torch.bmm(edge_weight, sent)
        else:
            assert pos is not None
            received, displacement = receive(sent, pos, edge_weight, sums_to_one, mask)
        if few:
            # One product for the node and its neighbours: more numbers to multiply, fewer operations to call.
            parts = [x, received] if displacement is None else [x, received, displacement]
            joined = torch.cat(parts, dim=-1)
            weight = self._frozen_weight
            weight = self._side_by_side() if weight is None else weight[:, : joined.shape[-1]]
            return functional.linear(joined, weight, self.lin_self.bias)
        own, weight = self.lin_self(x), self.lin_neighbor.weight
        if sums_first:
            received = received if displacement is None else torch.cat([received, displacement], dim=-1)
            return torch.addmm(own.flatten(0, 1), received.flatten(0, 1), weight.t()).view_as(own)
        out = own + received
        return out if displacement is None else out + displacement @ weight[:, self.in_channels :].t()

    def _forward_at_once(
        self, x: Tensor, pos: Tensor | None, confidence: Tensor | None
    ) -> tuple[Tensor, Tensor] | None:
        """:meth:`forward` of a frozen layer for a few nodes, its weights too; None where it has to look closer."""
        frozen, connectivity = self._frozen_weight, self.connectivity
        if frozen is None or connectivity is None or not self.shape_features or pos is None or confidence is None:
            return None
        if not connectivity.sums_to_one or not are_few(x, pos, confidence, self.in_channels):
            return None
        weight = connectivity.dense(confidence)
        return functional.linear(join(x, pos, weight), frozen, self.lin_self.bias), weight

    def _side_by_side(self) -> Tensor:
        """Weights of the node and of its neighbours, [F_out, 2 F_in (+ 2)]."""
        return torch.cat([self.lin_self.weight, self.lin_neighbor.weight], dim=1)

    def _load_from_state_dict(self, *args: Any) -> None:
        self._frozen_weight = None
        super()._load_from_state_dict(*args)

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}({self.in_channels}, {self.out_channels}, "
            f"connectivity={self.connectivity}, shape_features={self.shape_features})"
        )
