"""Stacks of the paper's graph convolutions that share one connectivity."""

import copy
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Literal, TypeVar, cast, overload

from torch import Tensor, nn
from torch_geometric.nn import norm as pyg_norm
from torch_geometric.nn.resolver import activation_resolver, normalization_resolver
from torch_geometric.typing import SparseTensor

from lgcn.checks import InputError, check_edges, check_flag, check_number, check_shape, shown
from lgcn.nn.connectivity import Connectivity
from lgcn.nn.conv.base import check_connectivity
from lgcn.nn.conv.dense_lgcn_conv import DenseGraphModule, DenseLayer
from lgcn.nn.conv.lgcn_conv import LGCNConv, as_edge_list, compute_weights, mask_edges
from lgcn.nn.functional.masked_batch_norm import MaskedBatchNorm
from lgcn.nn.functional.mlp import as_widths

Activation = str | Callable[[Tensor], Tensor] | None
Norm = str | Callable[[int], nn.Module] | nn.Module | None
_Stack = TypeVar("_Stack", bound="LGCNBase")


class LGCNBase(nn.Module):
    """Layers, norms and activation of both stacks; a subclass defines the layer and ``forward``."""

    conv_type: type[LGCNConv] | type[DenseLayer]

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        connectivity: Connectivity,
        *,
        act: Activation = "relu",
        norm: Norm = None,
        dropout: float = 0.0,
        shape_features: bool | Sequence[bool] = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_connectivity(connectivity)
        channels = as_widths("channels", channels)
        if not channels:
            raise InputError("Expected 'channels' to hold the width of at least one layer (got none).")
        given: Any = shape_features
        flags = given if isinstance(given, list | tuple) else [given] * len(channels)
        flags = [check_flag("shape_features", flag) for flag in flags]
        if len(flags) != len(channels):
            raise InputError(
                f"Expected 'shape_features' to hold one flag for each of {len(channels)} layers (got {len(flags)})."
            )
        if check_number("dropout", dropout, 0, 1) == 1:
            raise InputError(f"Expected 'dropout' in [0, 1) (got {dropout}).")
        self.in_channels = in_channels
        self.channels = list(channels)
        self.shape_features = flags
        self.bias = bias
        self.connectivity = connectivity
        self.act = _resolve_activation(act)
        self.dropout = nn.Dropout(dropout)
        widths = [in_channels, *channels]
        self.convs = nn.ModuleList(
            self.conv_type(widths[layer], widths[layer + 1], shape_features=flag, bias=bias)
            for layer, flag in enumerate(flags)
        )
        self.norms = nn.ModuleList(_resolve_norm(norm, width) for width in channels[:-1])

    def reset_parameters(self) -> None:
        """Reset the parameters of the connectivity, the layers and the norms."""
        self.connectivity.reset_parameters()
        for module in (*self.convs, *self.norms):
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()

    def _convert(self, other: type[_Stack]) -> _Stack:
        """The same stack in the other form, with the very same parameters and modules."""
        options: dict[str, Any] = {"act": None, "shape_features": self.shape_features, "bias": self.bias}
        converted = other(self.in_channels, self.channels, self.connectivity, **options)
        converted.act, converted.norms, converted.dropout = self.act, self.norms, self.dropout
        for mine, theirs in zip(self.convs, converted.convs, strict=True):
            theirs.lin_self, theirs.lin_neighbor = mine.lin_self, mine.lin_neighbor
        return converted.train(self.training)

    def _run_layers(self, x: Tensor, mask: Tensor | None, /, *shared: Any, **options: Any) -> Tensor:
        """All layers with what they share. The output at missing nodes is arbitrary, and in between nobody reads it."""
        for layer, conv in enumerate(self.convs):
            if layer:
                norm = self.norms[layer - 1]
                x = norm(x, mask) if isinstance(norm, MaskedBatchNorm) else norm(x)
                x = self.dropout(self.act(x))
            x = conv(x, *shared, **options)
        return x


class LGCN(LGCNBase):
    r"""A stack of :class:`LGCNConv` layers over edge weights that are computed once.

    Between layers come the norm, the activation and dropout, in this order. :class:`DenseLGCN` is the same stack on
    complete graphs.

    Args:
        in_channels: Size of each input sample, or -1 to derive it from the first input.
        channels: Output channels of each layer; the paper has (64, 16, 2).
        connectivity: Computes :math:`e_{ij}` for all layers.
        act: Activation between the layers: a name that PyG resolves, a callable, a module or None.
        norm: Norm between the layers: ``"batch_norm"`` (statistics of the nodes that are present), ``"layer_norm"``
            (of each node), a callable that takes the width, a module (each layer gets a copy) or None.
        dropout: Dropout probability between the layers.
        shape_features: Whether layers use :math:`\mathbf{q}_{ij}`; one flag for all, or one a layer.
        bias: Whether layers have a bias.

    Raises:
        InputError: for names or numbers that cannot be used.
    """

    conv_type = LGCNConv

    def to_dense(self) -> "DenseLGCN":
        """The same stack on complete graphs, with the very same parameters."""
        return self._convert(DenseLGCN)

    @overload
    def forward(self, x: Tensor, *args: Any, return_connectivity: Literal[False] = ..., **kwargs: Any) -> Tensor: ...

    @overload
    def forward(
        self, x: Tensor, *args: Any, return_connectivity: Literal[True], **kwargs: Any
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]: ...

    def forward(  # type: ignore[misc]
        self,
        x: Tensor,
        edge_index: Tensor | SparseTensor,
        pos: Tensor | None = None,
        landmark_id: Tensor | None = None,
        confidence: Tensor | None = None,
        edge_weight: Tensor | None = None,
        mask: Tensor | None = None,
        return_connectivity: bool = False,
    ) -> Tensor | tuple[Tensor, tuple[Tensor, Tensor]]:
        """Run the forward pass; arguments and errors as for :meth:`LGCNConv.forward`, without bipartite graphs.

        ``pos`` holds the initial positions, which every layer with shape features uses.
        """
        # The layers check the rest.
        check_shape("x", x, "... N C")
        edges = as_edge_list(edge_index)
        if edge_weight is None:
            check_edges("edge_index", edges, x.shape[-2])
            edge_weight = compute_weights(self.connectivity, x, edges, landmark_id, confidence, mask)
        out = self._run_layers(x, mask, edges, pos, edge_weight=edge_weight, mask=mask)
        return (out, (edge_index, mask_edges(edge_weight, edges, mask))) if return_connectivity else out


class DenseLGCN(LGCNBase, DenseGraphModule):
    """The stack of :class:`LGCN` on complete graphs, with the same arguments, parameters and results."""

    conv_type = DenseLayer

    def to_sparse(self) -> LGCN:
        """The same stack on edge lists, with the very same parameters."""
        return self._convert(LGCN)

    def initialize_lazily(self, source: Tensor, target: Tensor) -> tuple[int, int]:
        return cast(DenseLayer, self.convs[0]).initialize_lazily(source, target)

    def convolve(self, x: Tensor, edge_weight: Tensor, displacement: Tensor | None, mask: Tensor | None) -> Tensor:
        return self._run_layers(x, mask, edge_weight, displacement)


def _resolve_activation(act: Activation) -> Any:
    if act is None:
        return nn.Identity()
    with suppress(ValueError):
        if callable(resolved := activation_resolver(act)):
            return resolved
    raise InputError(f"Expected 'act' to be an activation of PyTorch's by name, a callable or None (got {shown(act)}).")


def _resolve_norm(norm: Norm, width: int) -> nn.Module:
    if norm is None:
        return nn.Identity()
    if isinstance(norm, nn.Module):
        return copy.deepcopy(norm)
    if isinstance(norm, str):
        with suppress(ValueError, TypeError):
            named = normalization_resolver(norm, width)
            if isinstance(named, pyg_norm.BatchNorm):
                return MaskedBatchNorm(width)
            if isinstance(named, pyg_norm.LayerNorm):
                return pyg_norm.LayerNorm(width, mode="node")
    elif callable(norm) and isinstance(made := norm(width), nn.Module):
        return made
    raise InputError(
        f"Expected 'norm' to be batch_norm, layer_norm, a module that normalises nodes, or a callable that makes one "
        f"(got {shown(norm)})."
    )
