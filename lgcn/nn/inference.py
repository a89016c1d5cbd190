"""Modules for inference: everything that depends only on parameters is precomputed and held in buffers.

``for_inference()`` of connectivities, layers, stacks and refiners makes them. They have the same ``forward`` as the
modules that they replace, and their own state dict: load weights before, not after. Later changes of the replaced
module do not reach them.
"""

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from lgcn.checks import InputError
from lgcn.nn.connectivity import Connectivity, LearnableConnectivity
from lgcn.nn.connectivity.table import EdgeTable, TableConnectivity
from lgcn.nn.conv.dense_base import DenseConv, narrows
from lgcn.nn.conv.dense_lgcn_conv import DenseLGCNConv

Module = TypeVar("Module", bound=nn.Module)


def for_inference(module: Module) -> Module:
    """A copy in eval mode, without gradients, with the connectivities and dense layers of this module."""
    copied = copy.deepcopy(module).eval().requires_grad_(False)
    for parent in list(copied.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Connectivity | DenseLGCNConv):
                setattr(parent, name, child.for_inference())
            elif isinstance(child, nn.Dropout):
                setattr(parent, name, nn.Identity())
    return copied


class PrecomputedConnectivity(TableConnectivity):
    """A :class:`lgcn.nn.LearnableConnectivity` whose table is computed once.

    At K = 98 that saves 1.2 ms a call, more than the rest of the network takes for a single image.

    Args:
        source: the connectivity, of which this is a copy.
    """

    table: Tensor
    of_receiver: Tensor
    of_neighbor: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, source: LearnableConnectivity) -> None:
        super().__init__(source.num_landmarks, source.normalization, source.self_loops, source.symmetric)
        evaluated = copy.deepcopy(source).eval().requires_grad_(False)
        self.act_last, self.use_confidence = source.act_last, source.use_confidence
        self.edge_mlp = evaluated.edge_mlp
        self.source_options = source.options()
        with torch.no_grad():
            table = evaluated.edge_table()
        for name, value in table._asdict().items():
            # Clones: a buffer that shares memory with a parameter cannot be exported.
            self.register_buffer(name, value.clone())
        self.set_forbidden(source.forbidden_pairs, self.table.device, self.table.dtype)
        self.eval()

    def edge_table(self) -> EdgeTable:
        return EdgeTable(self.table, self.of_receiver, self.of_neighbor, self.weight, self.bias)

    def options(self) -> dict[str, Any]:
        return self.source_options


class DenseConvForInference(DenseConv):
    """A :class:`lgcn.nn.DenseLGCNConv` whose W_1 and W_2 are one matrix.

    One product instead of two saves a tenth of a network's time for a single image at K = 98.

    Args:
        source: the layer, of which this is a copy.
    """

    weight: Tensor
    of_displacement: Tensor
    bias: Tensor

    def __init__(self, source: DenseLGCNConv) -> None:
        super().__init__()
        self.in_channels, self.out_channels = source.lin_self.in_channels, source.out_channels
        if self.in_channels < 0:
            raise InputError("Expected 'in_channels' to be known for inference (got -1). Run the layer once before.")
        self.shape_features = source.shape_features
        self.connectivity = None if source.connectivity is None else source.connectivity.for_inference()
        with torch.no_grad():
            own, (of_features, of_displacement) = source.lin_self.weight, source.neighbor_weights
            bias = own.new_zeros(len(own)) if source.lin_self.bias is None else source.lin_self.bias.clone()
            self.narrows = narrows(self.in_channels, self.out_channels)
            if self.narrows:
                weight, bias = torch.cat([own, of_features]), torch.cat([bias, torch.zeros_like(bias)])
            else:
                weight = torch.cat([own, of_features, of_displacement], dim=1)
            self.register_buffer("weight", weight)
            self.register_buffer("bias", bias)
            self.register_buffer("of_displacement", of_displacement.t().contiguous())
        self.eval()

    def initialize_lazily(self, source: Tensor, target: Tensor) -> tuple[int, int]:
        return self.in_channels, self.in_channels

    def convolve(self, x: Tensor, edge_weight: Tensor, displacement: Tensor | None) -> Tensor:
        displacement = displacement if self.shape_features else None
        if self.narrows:
            own, sent = functional.linear(x, self.weight, self.bias).split(self.out_channels, dim=-1)
            out = torch.baddbmm(own, edge_weight, sent)
            return out if displacement is None else out + displacement @ self.of_displacement
        received = torch.bmm(edge_weight, x)
        parts = [x, received] if displacement is None else [x, received, displacement]
        return functional.linear(torch.cat(parts, dim=-1), self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, shape_features={self.shape_features}"
