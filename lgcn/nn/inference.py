"""Modules for inference alone: what the parameters determine is computed once and held in buffers.

They are made by ``for_inference()`` of the modules that they replace.
"""

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lgcn.nn.connectivity.base import Connectivity
from lgcn.nn.connectivity.table import EdgeTable, TableConnectivity

if TYPE_CHECKING:
    from lgcn.nn.connectivity.learnable import LearnableConnectivity


class PrecomputedConnectivity(TableConnectivity):
    """A :class:`lgcn.nn.LearnableConnectivity` whose table is computed once.

    Args:
        source: the connectivity; a copy is made of all that is kept of it.
    """

    table: Tensor
    of_receiver: Tensor
    of_neighbor: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, source: "LearnableConnectivity") -> None:
        super().__init__(source.num_landmarks, source.normalization, source.self_loops, source.symmetric)
        evaluated = copy.deepcopy(source).eval().requires_grad_(False)
        self.act_last, self.use_confidence = source.act_last, source.use_confidence
        self.edge_mlp = evaluated.edge_mlp
        self.source_options = source.options()
        for name, value in evaluated.edge_table()._asdict().items():
            # Clones: a buffer that shares memory with a parameter cannot be exported.
            self.register_buffer(name, value.clone())
        self.set_forbidden(source.forbidden_pairs, self.table.device, self.table.dtype)
        self.eval()

    def edge_table(self) -> EdgeTable:
        return EdgeTable(self.table, self.of_receiver, self.of_neighbor, self.weight, self.bias)

    def options(self) -> dict[str, Any]:
        return self.source_options


def for_inference(module: nn.Module) -> nn.Module:
    """A copy in eval mode, without gradients, whose connectivity and dense layers are replaced by precomputed ones."""
    copied = copy.deepcopy(module).eval().requires_grad_(False)
    for parent in list(copied.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Connectivity):
                setattr(parent, name, child.for_inference())
    return copied


def dense_conv_for_inference(conv: nn.Module) -> nn.Module:
    return for_inference(conv)
