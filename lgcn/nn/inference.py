"""Modules for inference: everything that depends only on parameters is precomputed.

:func:`for_inference` puts them in the place of connectivities, dense layers and dense stacks. They have the same
``forward``, and are only there for speed: without this file, everything else works as it does.
"""

import copy
import math
from collections.abc import Callable, Iterable
from itertools import zip_longest
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from lgcn.checks import InputError, is_transformed
from lgcn.nn.connectivity import LearnableConnectivity
from lgcn.nn.connectivity.table import EdgeTable, TableConnectivity
from lgcn.nn.conv.dense_lgcn_conv import DenseConvBase, DenseGraphModule, DenseLGCNConv
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
    # Tables are those of eval mode, into which the modules that hold them are put, too.
    return cast(Module, _replace(copy.deepcopy(module).eval()).eval().requires_grad_(False))


def _replace(module: nn.Module) -> nn.Module:
    """The module for inference in the place of ``module``, whose children are replaced in place."""
    for name, child in list(module.named_children()):
        setattr(module, name, _replace(child))
    build = REPLACEMENTS.get(type(module))
    return module if build is None else build(module)


class PrecomputedConnectivity(TableConnectivity):
    """A :class:`lgcn.nn.LearnableConnectivity` whose table is computed once.

    At K = 98 that saves 0.8 ms a call, more than the rest of the network takes for a single image.
    """

    table: Tensor
    of_receiver: Tensor
    of_neighbor: Tensor
    weight: Tensor

    def __init__(self, source: LearnableConnectivity) -> None:
        super().__init__(source.num_landmarks, source.normalization, source.self_loops, source.symmetric)
        self.act_last, self.use_confidence = source.act_last, source.use_confidence
        self.edge_mlp = source.edge_mlp
        self.description = repr(source)
        for name, value in source.edge_table()._asdict().items():
            # Clones: a buffer that shares memory with a parameter cannot be exported.
            self.register_buffer(name, value.detach().clone())
        self.set_forbidden(source.forbidden_pairs)
        self.attn_bias = self.attn_bias.to(source.attn_bias)
        plain = len(self.weight) and self.sums_to_one and self.use_confidence
        unusual = self.act_last or self.symmetric or self.self_loops == "zero"
        self.few = 0 if unusual or not plain else AT_ONCE // self.table.numel()
        """Images that :meth:`weights_of_few` takes."""

    def weights_of_few(self, confidence: Tensor) -> Tensor:
        r"""Return what :meth:`dense` does for few images in as few operations as possible, without checks.

        Three passes over H x B x K x K: :math:`\mathrm{ReLU}(x + l) = \max(x, -l) + l`, and the softmax does not depend
        on :math:`\sum_h v_h l_h`, which is the same for all neighbours.
        """
        hidden = self.table.unsqueeze(1) + (self.of_neighbor.view(-1, 1, 1, 1) * confidence.unsqueeze(-2))
        torch.maximum(hidden, self.of_receiver.view(-1, 1, 1, 1) * -confidence.unsqueeze(-1), out=hidden)
        score = torch.mv(hidden.flatten(1).t(), self.weight).view(hidden.shape[1:])
        return score.add_(self.attn_bias).softmax(dim=-1)

    def edge_table(self) -> EdgeTable:
        return EdgeTable(*(getattr(self, name) for name in EdgeTable._fields))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.description})"


class DenseForInference(DenseGraphModule):
    """A :class:`lgcn.nn.DenseLGCN`, or a :class:`lgcn.nn.DenseLGCNConv` as a stack of one layer.

    Each layer has one matrix, of W_1 and W_2, hence one product of features instead of three. Batch normalisation is an
    affine map here and part of the matrix before it. At K = 98, B = 1 that makes the layers 2 times faster, and 2.5
    times with batch normalisation.
    """

    def __init__(
        self,
        connectivity: nn.Module | None,
        convs: Iterable[Any],
        norms: Iterable[nn.Module] = (),
        act: Callable[[Tensor], Tensor] = torch.relu,
    ) -> None:
        super().__init__()
        convs, norms = list(convs), list(norms)
        self.connectivity = connectivity
        self.shape_features = [conv.shape_features for conv in convs]
        self.in_channels = convs[0].lin_self.in_channels
        self.layers = nn.ModuleList(join(conv, norm) for conv, norm in zip_longest(convs, norms))
        self.norms = nn.ModuleList(nn.Identity() if isinstance(norm, MaskedBatchNorm) else norm for norm in norms)
        self.act = act

    def initialize_lazily(self, source: Tensor, target: Tensor) -> tuple[int, int]:
        return self.in_channels, self.in_channels

    def forward(  # type: ignore[override]
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
        """Whether this is eager inference on a CPU with valid inputs, so few that checks cost a fifth more."""
        if torch.compiler.is_compiling() or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
            return False
        few = getattr(self.connectivity, "few", 0)
        if is_transformed() or not (isinstance(x, Tensor) and x.is_cpu and x.dim() and 0 < len(x) <= few):
            return False
        B, K, like = len(x), self.connectivity.num_landmarks, self.connectivity.table
        shapes = ((B, K, self.in_channels), (B, K, 2), (B, K))
        return all(
            isinstance(each, Tensor)
            and (each.shape, each.dtype, each.device, each.layout) == (shape, like.dtype, like.device, like.layout)
            for each, shape in zip((x, pos, confidence), shapes, strict=True)
        ) and math.isfinite(confidence.sum().item())

    def convolve(self, x: Tensor, edge_weight: Tensor, displacement: Tensor | None, mask: Tensor | None) -> Tensor:
        for layer, (linear, uses_displacement) in enumerate(zip(self.layers, self.shape_features, strict=True)):
            if layer:
                x = self.act(self.norms[layer - 1](x))
            if uses_displacement and displacement is not None:
                x = torch.cat([x, displacement], dim=-1)
            own, sent = linear(x).chunk(2, dim=-1)
            x = torch.baddbmm(own, edge_weight, sent)
        return x


@torch.no_grad()
def join(conv: DenseConvBase, norm: nn.Module | None) -> nn.Linear:
    """One linear layer for all that a layer, and batch normalisation after it, do at the nodes.

    Returns:
        From [x, q] to the node's own output and what it sends; q is the displacement, if the layer has shape features.
    """
    own, (of_features, of_displacement) = conv.lin_self.weight, conv.neighbor_weights
    bias = torch.zeros_like(own[:, 0]) if conv.lin_self.bias is None else conv.lin_self.bias
    if isinstance(norm, MaskedBatchNorm):
        mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
        scale = norm.weight * (variance + norm.eps).rsqrt()
        own, of_features, of_displacement = (scale[:, None] * each for each in (own, of_features, of_displacement))
        bias = (bias - mean) * scale + norm.bias
    weight = torch.cat([own, of_displacement, of_features, torch.zeros_like(of_displacement)], dim=1)
    weight = torch.cat(weight.chunk(2, dim=1))
    linear = nn.utils.skip_init(nn.Linear, weight.shape[1], len(weight), device=weight.device, dtype=weight.dtype)
    linear.weight.copy_(weight)
    linear.bias.copy_(torch.cat([bias, torch.zeros_like(bias)]))
    return linear


REPLACEMENTS: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    LearnableConnectivity: PrecomputedConnectivity,
    DenseLGCNConv: lambda conv: DenseForInference(conv.connectivity, [conv]),
    DenseLGCN: lambda lgcn: DenseForInference(lgcn.connectivity, lgcn.convs, lgcn.norms, lgcn.act),
}
"""Classes, not their subclasses, which may compute something else -> what builds the module for inference."""
