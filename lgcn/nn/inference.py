"""Modules for inference: everything that depends only on parameters is precomputed and held in buffers.

:func:`for_inference` puts them in the place of connectivities, dense layers and dense stacks. They have the same
``forward``, and are only there for speed: without this file, everything else works as it does.
"""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parameter import UninitializedParameter

from lgcn.checks import InputError, is_plain_inference
from lgcn.nn.connectivity import LearnableConnectivity
from lgcn.nn.connectivity.table import EdgeTable, TableConnectivity
from lgcn.nn.conv.dense_base import DenseGraphModule
from lgcn.nn.conv.dense_lgcn_conv import DenseConvBase, DenseLGCNConv, sums_last
from lgcn.nn.functional.masked_batch_norm import MaskedBatchNorm
from lgcn.nn.functional.pair_scores import AT_ONCE
from lgcn.nn.models.lgcn import DenseLGCN

Module = TypeVar("Module", bound=nn.Module)


def for_inference(module: Module) -> Module:
    """Return a copy for inference of a module of this package, or of any module that contains some.

    The copy is in eval mode, without gradients, and does not follow later changes of the original. In it,
    :class:`~lgcn.nn.LearnableConnectivity`, :class:`~lgcn.nn.DenseLGCNConv` and :class:`~lgcn.nn.DenseLGCN` are
    replaced by modules with the same ``forward`` and a state dict of their own: load weights before, not after.
    Subclasses of these are copied as they are.

    Args:
        module: for example a :class:`~lgcn.nn.LandmarkRefiner`.

    Raises:
        InputError: for a lazy layer whose ``in_channels`` are not known yet.
    """
    if any(isinstance(parameter, UninitializedParameter) for parameter in module.parameters()):
        raise InputError("Expected 'in_channels' to be known for inference (got -1). Run the module once before.")
    return cast(Module, _replace(copy.deepcopy(module).eval().requires_grad_(False)))


def _replace(module: nn.Module) -> nn.Module:
    """The module for inference in the place of ``module``, whose children are replaced in place."""
    for name, child in list(module.named_children()):
        setattr(module, name, _replace(child))
    build = REPLACEMENTS.get(type(module))
    return module if build is None else build(module)


class PrecomputedConnectivity(TableConnectivity):
    """A :class:`lgcn.nn.LearnableConnectivity` whose table is computed once.

    At K = 98 that saves 1.2 ms a call, more than the rest of the network takes for a single image.

    Args:
        source: the connectivity, in eval mode.
    """

    table: Tensor
    of_receiver: Tensor
    of_neighbor: Tensor
    weight: Tensor
    bias: Tensor
    of_both: Tensor

    def __init__(self, source: LearnableConnectivity) -> None:
        super().__init__(source.num_landmarks, source.normalization, source.self_loops, source.symmetric)
        self.act_last, self.use_confidence = source.act_last, source.use_confidence
        self.edge_mlp = source.edge_mlp
        self.description = repr(source)
        with torch.no_grad():
            table = source.edge_table()
        for name, value in table._asdict().items():
            # Clones: a buffer that shares memory with a parameter cannot be exported.
            self.register_buffer(name, value.clone())
        self.set_forbidden(source.forbidden_pairs)
        self.register_buffer("of_both", torch.cat([self.of_neighbor, -self.of_receiver]).view(-1, 1, 1))
        self.attn_bias = self.attn_bias.to(self.table)
        self.eval()

    @property
    def has_fast_path(self) -> bool:
        """Whether :meth:`weights_of_few` gives the weights of :meth:`dense`."""
        plain = len(self.weight) and self.use_confidence and not self.act_last
        return bool(plain) and self.sums_to_one and not self.symmetric and self.self_loops != "zero"

    def weights_of_few(self, confidence: Tensor) -> Tensor:
        r"""Weights [B, K, K] of a few complete graphs in as few operations as possible, without checks.

        Three passes over H x B x K x K: :math:`\mathrm{ReLU}(x + l) = \max(x, -l) + l`, and the softmax does not depend
        on :math:`\sum_h v_h l_h`, which is the same for all neighbours.
        """
        neighbor, receiver = (self.of_both * confidence).chunk(2)
        hidden = self.table.unsqueeze(1) + neighbor.unsqueeze(-2)
        torch.maximum(hidden, receiver.unsqueeze(-1), out=hidden)
        score = torch.mv(hidden.flatten(1).t(), self.weight).view(hidden.shape[1:])
        return score.add_(self.attn_bias).softmax(dim=-1)

    def edge_table(self) -> EdgeTable:
        return EdgeTable(self.table, self.of_receiver, self.of_neighbor, self.weight, self.bias)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.description})"


class DenseForInference(DenseGraphModule):
    """A :class:`lgcn.nn.DenseLGCN`, or a :class:`lgcn.nn.DenseLGCNConv` as a stack of one layer.

    Each layer has one matrix, of W_1 and W_2, hence one product of features instead of three. Batch normalisation is an
    affine map here and part of the matrix before it. Both together make a stack 1.8 times faster at K = 98, B = 1.

    Args:
        connectivity: of all layers, already for inference.
        convs: the layers.
        norms: norms between them.
        act: activation between them.
    """

    def __init__(
        self,
        connectivity: nn.Module | None,
        convs: Sequence[DenseConvBase],
        norms: Sequence[nn.Module] = (),
        act: Callable[[Tensor], Tensor] = torch.relu,
    ) -> None:
        super().__init__()
        self.connectivity = connectivity
        self.widths = [convs[0].lin_self.in_channels, *(conv.out_channels for conv in convs)]
        self.shape_features = [conv.shape_features for conv in convs]
        self.sums_last = [sums_last(*each) for each in zip(self.widths, self.widths[1:], strict=False)]
        left = [nn.Identity() if isinstance(norm, MaskedBatchNorm) else norm for norm in norms]
        self.norms = None if all(isinstance(norm, nn.Identity) for norm in left) else nn.ModuleList(left)
        self.act = torch.relu if isinstance(act, nn.ReLU) else act
        # Images that the fast path takes.
        self.few = 0
        if isinstance(connectivity, PrecomputedConnectivity) and connectivity.has_fast_path and self.shape_features[0]:
            self.few = AT_ONCE // connectivity.table.numel()
        for layer, conv in enumerate(convs):
            norm = norms[layer] if layer < len(norms) else None
            weight, bias = joined_parameters(conv, self.sums_last[layer], norm)
            self.register_buffer(f"weight_{layer}", weight)
            self.register_buffer(f"bias_{layer}", bias)
        self.eval()

    def initialize_lazily(self, source: Tensor, target: Tensor) -> tuple[int, int]:
        return self.widths[0], self.widths[0]

    def forward(
        self,
        x: Tensor,
        pos: Tensor | None = None,
        confidence: Tensor | None = None,
        edge_weight: Tensor | None = None,
        mask: Tensor | None = None,
        return_connectivity: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return what :meth:`DenseGraphModule.forward` does, which also checks what does not fit the fast path."""
        if edge_weight is not None or mask is not None or not self.fits_fast_path(x, pos, confidence):
            return super().forward(x, pos, confidence, edge_weight, mask, return_connectivity)
        assert pos is not None
        weight = self.connectivity.weights_of_few(confidence)
        # As exact far from the origin as near it.
        pos = pos - pos[:, :1]
        out = self.convolve(x, weight, torch.baddbmm(pos, weight, pos, alpha=-1), None)
        return (out, weight) if return_connectivity else out

    def fits_fast_path(self, x: Any, pos: Any, confidence: Any) -> bool:
        """Whether inputs are valid, and so few that checks and Python would take half of the time."""
        if not (isinstance(x, Tensor) and is_plain_inference(x) and x.dim() and 0 < len(x) <= self.few):
            return False
        B, K, like = len(x), self.connectivity.num_landmarks, self.weight_0
        return (
            isinstance(pos, Tensor)
            and isinstance(confidence, Tensor)
            and (x.shape, pos.shape, confidence.shape) == ((B, K, self.widths[0]), (B, K, 2), (B, K))
            and x.dtype == pos.dtype == confidence.dtype == like.dtype
            and x.device == pos.device == confidence.device == like.device
            and x.layout == pos.layout == confidence.layout == like.layout
            and math.isfinite(confidence.sum().item())
        )

    def convolve(self, x: Tensor, edge_weight: Tensor, displacement: Tensor | None, mask: Tensor | None) -> Tensor:
        for layer, last in enumerate(self.sums_last):
            if layer:
                x = self.act(x if self.norms is None else self.norms[layer - 1](x))
            weight, bias = getattr(self, f"weight_{layer}"), getattr(self, f"bias_{layer}")
            parts = [x] if displacement is None or not self.shape_features[layer] else [x, displacement]
            if last:
                own, sent = functional.linear(torch.cat(parts, dim=-1), weight, bias).chunk(2, dim=-1)
                x = torch.baddbmm(own, edge_weight, sent)
            else:
                x = functional.linear(torch.cat([*parts, torch.bmm(edge_weight, x)], dim=-1), weight, bias)
        return x

    def extra_repr(self) -> str:
        return f"widths={self.widths}, shape_features={self.shape_features}"


@torch.no_grad()
def joined_parameters(conv: DenseConvBase, last: bool, norm: nn.Module | None) -> tuple[Tensor, Tensor]:
    """One weight and one bias for all that a layer does, and for the batch normalisation after it.

    Returns:
        If features are summed last, weights of [x, q] for the node's own output and for what it sends, one below the
        other; else weights of [x, q, sum_j e_ij x_j]. q is the displacement, if the layer has shape features.
    """
    own, (of_features, of_displacement) = conv.lin_self.weight, conv.neighbor_weights
    bias = torch.zeros_like(own[:, 0]) if conv.lin_self.bias is None else conv.lin_self.bias
    if isinstance(norm, MaskedBatchNorm):
        mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
        scale = norm.weight * (variance + norm.eps).rsqrt()
        own, of_features, of_displacement = (scale[:, None] * each for each in (own, of_features, of_displacement))
        bias = (bias - mean) * scale + norm.bias
    if not last:
        return torch.cat([own, of_displacement, of_features], dim=1), bias.clone()
    above = torch.cat([own, of_displacement], dim=1)
    below = torch.cat([of_features, torch.zeros_like(of_displacement)], dim=1)
    return torch.cat([above, below]), torch.cat([bias, torch.zeros_like(bias)])


REPLACEMENTS: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    LearnableConnectivity: PrecomputedConnectivity,
    DenseLGCNConv: lambda conv: DenseForInference(conv.connectivity, [conv]),
    DenseLGCN: lambda lgcn: DenseForInference(lgcn.connectivity, list(lgcn.convs), list(lgcn.norms), lgcn.act),
}
"""Classes, not their subclasses, which may compute something else -> what builds the module for inference."""
