"""A stack of the paper's graph convolutions that share one connectivity."""

import copy
from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.nn.inits import reset
from torch_geometric.nn.resolver import activation_resolver

from lgcn.checks import InputError, check_choice, check_edges, check_images, check_mask, check_shape
from lgcn.nn.connectivity import Connectivity
from lgcn.nn.conv.dense_lgcn_conv import (
    DenseLGCNConv,
    are_few,
    for_all_images,
    join,
    mean_displacement,
    without_missing,
)
from lgcn.nn.conv.lgcn_conv import LGCNConv, graph_centres, without_missing_ends
from lgcn.nn.functional.masked_batch_norm import batch_norm_of

NORMS = {"batch_norm": nn.BatchNorm1d, "layer_norm": nn.LayerNorm}


class LGCN(nn.Module):
    r"""Layers of :class:`LGCNConv` (or of its dense twin) over edge weights computed once an image.

    Between layers come the norm, the activation and dropout, in this order.

    Args:
        in_channels: channels of the node features :math:`\mathbf{h}^0`.
        channels: output channels of each layer; the paper has (64, 16, 2).
        connectivity: computes :math:`e_{ij}` for all layers.
        act: activation between the layers, a name of PyTorch's or None.
        shape_features: whether each layer concatenates :math:`\mathbf{q}_{ij}`; one flag for all or one a layer.
        bias: whether the layers have one.
        norm: ``"batch_norm"`` (statistics of the nodes that are there), ``"layer_norm"`` (of each node) or None.
        dropout: probability that a feature between layers is dropped in training.
        dense: work on complete graphs as ``[B, K, C]`` instead of on edge lists.

    Raises:
        InputError: for names or numbers that cannot be used.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        connectivity: Connectivity,
        act: str | None = "relu",
        shape_features: bool | Sequence[bool] = True,
        bias: bool = True,
        norm: str | None = None,
        dropout: float = 0.0,
        dense: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(connectivity, Connectivity):
            raise InputError(
                f"Expected 'connectivity' to be a Connectivity (got {connectivity!r}). By name there are "
                "lgcn.nn.CONNECTIVITIES[name](num_landmarks)."
            )
        if not channels:
            raise InputError("Expected 'channels' to hold the width of one layer at least (got none).")
        flags = [shape_features] * len(channels) if isinstance(shape_features, bool) else list(shape_features)
        if len(flags) != len(channels):
            raise InputError(f"Expected one 'shape_features' flag a layer, {len(channels)} (got {len(flags)}).")
        if not 0 <= dropout < 1:
            raise InputError(f"Expected 'dropout' in [0, 1) (got {dropout}).")
        # Of all modules, where they may be passed by (see _forward_at_once) as long as nobody listens to them.
        self._hooks: list[dict[int, Any]] | None = None
        self.in_channels = in_channels
        self.channels = list(channels)
        self.shape_features = flags
        self.connectivity = connectivity
        self.dense = dense
        self.act = _activation(act)
        self.dropout = nn.Dropout(dropout)
        layer = DenseLGCNConv if dense else LGCNConv
        sizes = [in_channels, *channels]
        self.convs = nn.ModuleList(
            layer(sizes[i], sizes[i + 1], shape_features=flag, bias=bias) for i, flag in enumerate(flags)
        )
        between = NORMS[check_choice("norm", norm, NORMS)] if norm is not None else lambda width: nn.Identity()
        self.norms = nn.ModuleList(between(width) for width in channels[:-1])

    def reset_parameters(self) -> None:
        reset(self.connectivity)
        reset(self.convs)
        reset(self.norms)

    def twin(self) -> "LGCN":
        """The same stack in the other form, dense or sparse, with the very same parameters."""
        twin = LGCN(
            self.in_channels,
            self.channels,
            self.connectivity,
            act=None,
            shape_features=self.shape_features,
            dense=not self.dense,
        )
        twin.act, twin.norms, twin.dropout = self.act, self.norms, self.dropout
        for mine, other in zip(self.convs, twin.convs, strict=True):
            other.lin_self, other.lin_neighbor = mine.lin_self, mine.lin_neighbor
        return twin.train(self.training)

    def frozen(self) -> "LGCN":
        """A copy for inference, see :meth:`Connectivity.frozen`: what to compile and to export."""
        frozen = copy.deepcopy(self).eval().requires_grad_(False)
        frozen.connectivity = self.connectivity.frozen()
        if self.dense:
            frozen.convs = nn.ModuleList(conv.frozen() for conv in self.convs if isinstance(conv, DenseLGCNConv))
            if all(self.shape_features) and all(isinstance(norm, nn.Identity) for norm in self.norms):
                hooks = ((module._forward_pre_hooks, module._forward_hooks) for module in frozen.modules())
                frozen._hooks = list(chain.from_iterable(hooks))
        return frozen

    def forward(
        self,
        x: Tensor,
        pos: Tensor | None = None,
        confidence: Tensor | None = None,
        edge_index: Tensor | None = None,
        landmark_id: Tensor | None = None,
        mask: Tensor | None = None,
        edge_weight: Tensor | None = None,
        return_connectivity: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Runs the stack.

        Args:
            x: [B, K, C] where dense, else [N, C] (or [B, N, C]: B images that share one edge list).
            pos: [B, K, 2] or [N, 2], the initial positions, which every layer with shape features sees.
            confidence: [B, K] or [N], finite, in [0, 1] as a rule; needed where no ``edge_weight`` is given.
            edge_index: [2, E], neighbours j in row 0, receiving nodes i in row 1; sparse only.
            landmark_id: [N]; sparse only, needed where no ``edge_weight`` is given.
            mask: [B, K] or [N], False where a landmark is missing: as if it were not there, and its output is 0.
                What stands there is not read.
            edge_weight: [B, K, K] or [E], used as it is instead of the connectivity.
            return_connectivity: return ``(out, e)`` with e [B, K, K] or [E].

        Raises:
            InputError: for shapes, types or values that do not fit (values are looked at on the CPU only, and not
                while compiling).
        """
        if mask is None and edge_weight is None and edge_index is None and landmark_id is None:
            at_once = self._forward_at_once(x, pos, confidence)
            if at_once is not None:
                return at_once if return_connectivity else at_once[0]
        if pos is None and any(self.shape_features):
            raise InputError("Expected 'pos' for shape features (got None). Or build with shape_features=False.")
        run = self._on_complete_graphs if self.dense else self._on_edge_list
        weight, where = run(x, pos, confidence, edge_index, landmark_id, mask, edge_weight)
        # What is missing is cleared here, once: it weighs nothing from now on, and the layers need no mask.
        x = x if mask is None else x.masked_fill(~mask.unsqueeze(-1), 0.0)
        for conv, norm in zip(self.convs, (None, *self.norms), strict=True):
            x = conv(x if norm is None else self._between(norm, x, mask), edge_weight=weight, **where)
        x = x if mask is None else x.masked_fill(~mask.unsqueeze(-1), 0.0)
        return (x, weight) if return_connectivity else x

    def _forward_at_once(
        self, x: Tensor, pos: Tensor | None, confidence: Tensor | None
    ) -> tuple[Tensor, Tensor] | None:
        """:meth:`forward` of a frozen stack for a few nodes, its weights too; None where it has to look closer.

        To call layers that each look at what they get, and to look up attributes of modules, which torch does in
        Python, would take a third of the time of an image.
        """
        if self._hooks is None or any(self._hooks) or pos is None or confidence is None:
            return None
        modules: dict[str, Any] = self._modules
        connectivity, act, convs = modules["connectivity"], modules["act"], modules["convs"]._modules.values()
        if not connectivity.sums_to_one or not are_few(x, pos, confidence, self.in_channels):
            return None
        weight = connectivity.dense(confidence)
        ends = None
        for conv in convs:
            if ends is None:
                joined = join(x, pos, weight)
                ends = joined[..., -4:]
            else:
                x = act(x)
                joined = torch.cat([x, torch.bmm(weight, x), ends], dim=-1)
            frozen = conv._buffers["_frozen_weight"]
            if frozen is None:  # It has loaded weights, or is to learn.
                return None
            x = functional.linear(joined, frozen, conv._modules["lin_self"]._parameters["bias"])
        return x, weight

    def _on_complete_graphs(
        self,
        x: Tensor,
        pos: Tensor | None,
        confidence: Tensor | None,
        edge_index: Tensor | None,
        landmark_id: Tensor | None,
        mask: Tensor | None,
        edge_weight: Tensor | None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Weights [B, K, K], and what else all layers take."""
        if edge_index is not None or landmark_id is not None:
            raise InputError("Expected no 'edge_index' and no 'landmark_id' for a dense LGCN (see LGCN.twin).")
        # Before the weights are computed, so that the error names what is wrong.
        check_shape("x", x, "B K C", C=self.in_channels)
        images, landmarks = x.shape[:2]
        if pos is not None:
            check_shape("pos", pos, "B K 2", B=images, K=landmarks)
        if confidence is not None:
            check_shape("confidence", confidence, "B K", B=images, K=landmarks)
        if mask is not None:
            check_mask("mask", mask, "B K", B=images, K=landmarks)
        if edge_weight is not None:
            weight = for_all_images(edge_weight, images, landmarks)
            weight = weight if mask is None else without_missing(weight, mask)
        elif confidence is not None:
            weight = self.connectivity.dense(confidence, mask)
        else:
            raise InputError("Expected 'confidence' [B, K], or 'edge_weight' [B, K, K] (got None).")
        if pos is None or not any(self.shape_features):
            return weight, {}
        known = mask is None and edge_weight is None and self.connectivity.sums_to_one
        return weight, {"displacement": mean_displacement(pos, weight, known, mask)}

    def _on_edge_list(
        self,
        x: Tensor,
        pos: Tensor | None,
        confidence: Tensor | None,
        edge_index: Tensor | None,
        landmark_id: Tensor | None,
        mask: Tensor | None,
        edge_weight: Tensor | None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Weights [E] or [B, E], and what else all layers take."""
        if edge_index is None or (landmark_id is None and edge_weight is None):
            raise InputError("Expected 'edge_index' [2, E] and 'landmark_id' [N] for a sparse LGCN (got None).")
        check_shape("x", x, "... N C", C=self.in_channels)
        nodes = x.shape[-2]
        if pos is not None:
            check_shape("pos", pos, "... N 2", N=nodes)
        if confidence is not None:
            check_shape("confidence", confidence, "... N", N=nodes)
        if landmark_id is not None:
            check_shape("landmark_id", landmark_id, "N", N=nodes)
        if mask is not None:
            check_mask("mask", mask, "... N", N=nodes)
        check_images(
            x.shape[:-2], pos=(pos, 2), confidence=(confidence, 1), edge_weight=(edge_weight, 1), mask=(mask, 1)
        )
        if edge_weight is not None:
            check_edges("edge_index", edge_index, nodes)
            check_shape("edge_weight", edge_weight, "... E", E=edge_index.shape[1])
            weight = edge_weight if mask is None else without_missing_ends(edge_weight, edge_index, mask)
        elif landmark_id is not None and confidence is not None:
            weight = self.connectivity(landmark_id, confidence, edge_index, mask)
        else:
            raise InputError("Expected 'confidence' [N], or 'edge_weight' [E] (got None).")
        if pos is None or not any(self.shape_features):
            return weight, {"edge_index": edge_index}
        pos = pos if mask is None else pos.masked_fill(~mask.unsqueeze(-1), 0.0)
        return weight, {"edge_index": edge_index, "pos": pos, "origin": graph_centres(pos, edge_index, mask)}

    def _between(self, norm: nn.Module, x: Tensor, mask: Tensor | None) -> Tensor:
        """What comes between two layers."""
        if not self.training and isinstance(norm, nn.Identity):
            return self.act(x)
        if isinstance(norm, nn.BatchNorm1d):
            if mask is None or not self.training:
                x = norm(x.flatten(0, -2)).view_as(x)
            else:
                x = batch_norm_of(norm, x, mask.expand(x.shape[:-1]).unsqueeze(-1))
        else:
            x = norm(x)
        return self.dropout(self.act(x))


def _activation(name: str | None) -> nn.Module:
    if not name:
        return nn.Identity()
    try:
        return activation_resolver(name)
    except ValueError as error:
        raise InputError(f"Expected 'act' to be an activation of PyTorch's, or None (got '{name}').") from error
