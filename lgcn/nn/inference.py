"""Modules for inference: everything that depends only on parameters is precomputed and held in buffers.

``for_inference()`` of connectivities, layers, stacks and refiners makes them. They have the same ``forward`` as the
modules that they replace, and their own state dict: load weights before, not after. Later changes of the replaced
module do not reach them.
"""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from lgcn.checks import InputError
from lgcn.nn.connectivity import Connectivity, LearnableConnectivity
from lgcn.nn.connectivity.table import EdgeTable, TableConnectivity
from lgcn.nn.conv.dense_base import DenseGraphModule
from lgcn.nn.conv.dense_lgcn_conv import DenseConvBase, DenseLayer, DenseLGCNConv, sums_last

Module = TypeVar("Module", bound=nn.Module)


def for_inference(module: Module) -> Module:
    """A copy in eval mode, without gradients, with the connectivities and dense layers of this module."""
    copied = copy.deepcopy(module).eval().requires_grad_(False)
    for parent in list(copied.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Connectivity | DenseLGCNConv):
                setattr(parent, name, child.for_inference())
            elif isinstance(child, DenseLayer):
                setattr(parent, name, FusedLayer(child))
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
        self.description = repr(source)
        with torch.no_grad():
            table = evaluated.edge_table()
        for name, value in table._asdict().items():
            # Clones: a buffer that shares memory with a parameter cannot be exported.
            self.register_buffer(name, value.clone())
        self.set_forbidden(source.forbidden_pairs)
        self.attn_bias = self.attn_bias.to(self.table)
        self.eval()

    def edge_table(self) -> EdgeTable:
        return EdgeTable(self.table, self.of_receiver, self.of_neighbor, self.weight, self.bias)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.description})"


class FusedLayer(nn.Module):
    """A layer of a dense stack whose W_1 and W_2 are one matrix: one product of features instead of three.

    Args:
        source: the layer, of which this is a copy.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, source: DenseConvBase) -> None:
        super().__init__()
        self.in_channels, self.out_channels = source.lin_self.in_channels, source.out_channels
        if self.in_channels < 0:
            raise InputError("Expected 'in_channels' to be known for inference (got -1). Run the layer once before.")
        self.shape_features = source.shape_features
        self.sums_last = sums_last(self.in_channels, self.out_channels)
        own, (of_features, of_displacement) = source.lin_self.weight, source.neighbor_weights
        bias = torch.zeros_like(own[:, 0]) if source.lin_self.bias is None else source.lin_self.bias
        if self.sums_last:
            above = torch.cat([own, of_displacement], dim=1)
            below = torch.cat([of_features, torch.zeros_like(of_displacement)], dim=1)
            weight, bias = torch.cat([above, below]), torch.cat([bias, torch.zeros_like(bias)])
        else:
            weight = torch.cat([own, of_displacement, of_features], dim=1)
        self.register_buffer("weight", weight.detach())
        self.register_buffer("bias", bias.detach().clone())

    def initialize_lazily(self, source: Tensor, target: Tensor) -> tuple[int, int]:
        return self.in_channels, self.in_channels

    def forward(self, x: Tensor, edge_weight: Tensor, displacement: Tensor | None) -> Tensor:
        parts = [x, displacement] if self.shape_features and displacement is not None else [x]
        if self.sums_last:
            own, sent = functional.linear(torch.cat(parts, dim=-1), self.weight, self.bias).chunk(2, dim=-1)
            return torch.baddbmm(own, edge_weight, sent)
        return functional.linear(torch.cat([*parts, torch.bmm(edge_weight, x)], dim=-1), self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, shape_features={self.shape_features}"


class DenseConvForInference(DenseGraphModule):
    """A :class:`lgcn.nn.DenseLGCNConv` for inference.

    Args:
        source: the layer, of which this is a copy.
    """

    def __init__(self, source: DenseLGCNConv) -> None:
        super().__init__()
        self.shape_features = source.shape_features
        self.connectivity = None if source.connectivity is None else source.connectivity.for_inference()
        self.layer = FusedLayer(source)
        self.eval()

    def initialize_lazily(self, source: Tensor, target: Tensor) -> tuple[int, int]:
        return self.layer.initialize_lazily(source, target)

    def convolve(self, x: Tensor, edge_weight: Tensor, displacement: Tensor | None, mask: Tensor | None) -> Tensor:
        return self.layer(x, edge_weight, displacement)
