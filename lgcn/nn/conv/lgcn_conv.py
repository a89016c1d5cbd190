"""The paper's graph convolution on any PyG graph."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Literal, overload

import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.nn import MessagePassing
from torch_geometric.nn.aggr import Aggregation, MeanAggregation, MultiAggregation, SumAggregation
from torch_geometric.nn.resolver import aggregation_resolver
from torch_geometric.typing import OptTensor, PairOptTensor, PairTensor, SparseTensor
from torch_geometric.utils import is_sparse, to_edge_index

from lgcn.checks import (
    InputError,
    check_choice,
    check_devices,
    check_edges,
    check_ids,
    check_images,
    check_mask,
    check_shape,
    shown,
)
from lgcn.nn.connectivity import Connectivity
from lgcn.nn.conv.base import LGCNConvBase, check_like, mask_rows
from lgcn.nn.functional.weighted_sum import has_sparse_product, weighted_sum


def _without_fusing(register: Callable[..., Any]) -> Callable[..., Any]:
    """Hooks on messages or on their sum, as of AttentionExplainer, disable the fused path, which computes none."""

    @wraps(register)
    def register_hook(self: MessagePassing, hook: Callable[..., Any]) -> Any:
        self.fuse = False
        return register(self, hook)

    return register_hook


class LGCNConv(LGCNConvBase, MessagePassing):
    r"""Graph convolution with learnable connectivity and shape features.

    Eq. 4 of "Facial Landmark Detection with Learnable Connectivity Graph Convolutional Network" (L. Q. Nguyen et al.,
    2022):

    .. math::
        \mathbf{h}'_i = \mathbf{W}_1 \mathbf{h}_i + \sum_{j \in \mathcal{N}(i)} e_{ij} \mathbf{W}_2
        (\mathbf{h}_j \oplus \mathbf{q}_{ij}) + \mathbf{b}, \qquad \mathbf{q}_{ij} = \mathbf{p}_i - \mathbf{p}_j

    The weights :math:`e_{ij}` are given as ``edge_weight`` or computed from landmark types and confidences by
    ``connectivity``.

    Features are transformed at the nodes, and displacements after their sum, which is exact: with
    :math:`\mathbf{W}_2 = [\mathbf{W}_{2h}, \mathbf{W}_{2q}]` the sum is
    :math:`\sum_j e_{ij} \mathbf{W}_{2h} \mathbf{h}_j + \mathbf{W}_{2q} \sum_j e_{ij} \mathbf{q}_{ij}`.

    Images that share one edge list need no block-diagonal batch: a leading axis B of ``x`` and of the other node
    inputs works as well.

    Args:
        in_channels (int or tuple): Size of each input sample, or :obj:`-1` to derive it from the first input. A
            tuple is for source and target nodes of a bipartite graph.
        out_channels (int): Size of each output sample.
        connectivity (Connectivity, optional): Computes :math:`e_{ij}`; without it ``edge_weight`` must be given.
            (default: :obj:`None`)
        shape_features (bool, optional): If set to :obj:`False`, :math:`\mathbf{q}_{ij}` is left out.
            (default: :obj:`True`)
        bias (bool, optional): If set to :obj:`False`, there is no bias. (default: :obj:`True`)
        **kwargs (optional): Additional arguments of :class:`torch_geometric.nn.MessagePassing`; with shape features
            the aggregation must be linear, :obj:`"add"` (the paper, the default) or :obj:`"mean"`.

    Shapes:
        - **input:** node features :math:`(N, F_{in})` or :math:`((N_s, F_s), (N_t, F_t))` if bipartite, positions
          :math:`(N, 2)`, edge indices :math:`(2, E)`, landmark ids :math:`(N)` and confidences :math:`(N)`, or edge
          weights :math:`(E)`
        - **output:** node features :math:`(N, F_{out})`, or :math:`((N, F_{out}), ((2, E), (E)))` if
          :obj:`return_connectivity=True`
    """

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        connectivity: Connectivity | None = None,
        shape_features: bool = True,
        bias: bool = True,
        **kwargs: Any,
    ) -> None:
        aggr = kwargs.setdefault("aggr", "add")
        check_choice("flow", kwargs.get("flow", "source_to_target"), ("source_to_target", "target_to_source"))
        for each in aggr if isinstance(aggr, list | tuple) and aggr else [aggr]:
            try:
                known = each is None or isinstance(aggregation_resolver(each), Aggregation)
            except (ValueError, TypeError):
                known = False
            if not known:
                raise InputError(f"Expected 'aggr' to be one of PyG's (got {shown(each)}). Such as 'add' or 'mean'.")
        super().__init__(in_channels, out_channels, connectivity, shape_features, bias, node_dim=-2, **kwargs)
        if shape_features and not isinstance(self.aggr_module, SumAggregation | MeanAggregation):
            raise InputError(f"Expected 'aggr' to be 'add' or 'mean' with shape features (got {aggr!r}).")
        if isinstance(self.aggr_module, MultiAggregation) and self.aggr_module.mode == "cat":
            remedy = "Set aggr_kwargs={'mode': 'sum'}."
            raise InputError(f"Expected 'aggr' to give as many channels as it takes (got {aggr!r}). {remedy}")
        # PyG would fuse sums in any subclass; this implementation requires its own messages and flow.
        self.fuse = (
            type(self.aggr_module) is SumAggregation
            and type(self).message is LGCNConv.message
            and self.flow == "source_to_target"
        )

    register_propagate_forward_pre_hook = _without_fusing(MessagePassing.register_propagate_forward_pre_hook)
    register_propagate_forward_hook = _without_fusing(MessagePassing.register_propagate_forward_hook)
    register_message_forward_pre_hook = _without_fusing(MessagePassing.register_message_forward_pre_hook)
    register_message_forward_hook = _without_fusing(MessagePassing.register_message_forward_hook)
    register_aggregate_forward_pre_hook = _without_fusing(MessagePassing.register_aggregate_forward_pre_hook)
    register_aggregate_forward_hook = _without_fusing(MessagePassing.register_aggregate_forward_hook)

    def reset_parameters(self) -> None:
        MessagePassing.reset_parameters(self)
        super().reset_parameters()

    @overload
    def forward(
        self, x: Tensor | PairTensor, *args: Any, return_connectivity: Literal[False] = ..., **kwargs: Any
    ) -> Tensor: ...

    @overload
    def forward(
        self, x: Tensor | PairTensor, *args: Any, return_connectivity: Literal[True], **kwargs: Any
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]: ...

    def forward(  # type: ignore[misc]
        self,
        x: Tensor | PairTensor,
        edge_index: Tensor | SparseTensor,
        pos: Tensor | PairTensor | None = None,
        landmark_id: Tensor | None = None,
        confidence: Tensor | None = None,
        edge_weight: Tensor | None = None,
        mask: Tensor | None = None,
        return_connectivity: bool = False,
    ) -> Tensor | tuple[Tensor, tuple[Tensor, Tensor]]:
        """Run the forward pass.

        Args:
            x: [N, in_channels] or [B, N, in_channels]; or a pair of source and target features of a bipartite graph,
                which needs ``edge_weight``.
            edge_index: [2, E], neighbours j in row 0, receiving nodes i in row 1. Also an ``EdgeIndex``, or a
                transposed ``SparseTensor`` or sparse matrix of PyTorch's, whose values are not read.
            pos: [N, 2] or [B, N, 2], positions; needed with shape features; a pair if ``x`` is one.
            landmark_id: [N], types in 0 ... K - 1; needed without ``edge_weight``.
            confidence: [N] or [B, N], in [0, 1]; needed without ``edge_weight``.
            edge_weight: [E] or [B, E], used instead of the connectivity.
            mask: [N] or [B, N], False where a node is missing: it is no node's neighbour, also with given weights, and
                its output is 0. Values at a missing node are not read. Its edges get weight 0, which ``aggr="add"``
                cannot distinguish from no edges; a mean still counts them.
            return_connectivity: return ``(out, (edge_index, edge_weight))``.

        Raises:
            InputError: for shapes, types or values that do not fit (values are checked on the CPU only, and nothing
                is checked while compiling).
        """
        source, target = _pair("x", x)
        for each, channels in zip((source, target), self.initialize_lazily(source, target), strict=True):
            check_shape("x", each, "... N C", C=channels)
            check_like(self.lin_self.weight, x=each)
        images, size = target.shape[:-2], (source.shape[-2], target.shape[-2])
        positions: PairOptTensor = (None, None)
        if self.shape_features:
            if pos is None:
                raise InputError("Expected 'pos' [N, 2] for shape features (got None). Or set shape_features=False.")
            positions = _pair("pos", pos)
            for each, count in zip(positions, size, strict=True):
                check_shape("pos", each, "... N 2", N=count)
                check_like(self.lin_self.weight, dtype=False, pos=each)
                check_images(images, pos=(each, 2))
        edges = as_edge_list(edge_index)
        check_edges("edge_index", edges, max(size))
        check_devices(source.device, "'x'", edge_index=edges)
        if self.flow != "source_to_target" and is_sparse(edge_index):
            raise InputError("Expected 'edge_index' [2, E] with flow='target_to_source' (got a sparse matrix).")
        if isinstance(x, tuple):
            if mask is not None or edge_weight is None or self.flow != "source_to_target":
                raise InputError(
                    "Expected 'edge_weight' [E], no 'mask' and flow='source_to_target' with a pair 'x' of source and "
                    "target nodes."
                )
            for ends, count in zip(edges, size, strict=True):
                check_ids("edge_index", ends, count)
        if mask is not None:
            check_mask("mask", mask, "... N", N=size[0])
            check_devices(source.device, "'x'", mask=mask)
            check_images(images, mask=(mask, 1))
            source = target = mask_rows(source, mask)
            positions = tuple(None if each is None else mask_rows(each, mask) for each in positions)
        if edge_weight is None:
            directed = edges if self.flow == "source_to_target" else edges.flip(0)
            edge_weight = compute_weights(self.connectivity, target, directed, landmark_id, confidence, mask)
        check_shape("edge_weight", edge_weight, "... E", E=edges.shape[1])
        check_like(self.lin_self.weight, edge_weight=edge_weight)
        check_images(images, edge_weight=(edge_weight, 1))
        weight = mask_edges(edge_weight, edges, mask)

        of_features, of_displacement = self.neighbor_weights
        sent = source @ of_features.t()
        if self.fuse and not self.explain and has_sparse_product(sent, weight):
            received = self.message_and_aggregate(edges, sent, weight, positions, size[1])
        else:
            # propagate_type: (x: Tensor, alpha: Tensor, pos: PairOptTensor)
            received = self.propagate(edges, x=sent, alpha=weight, pos=positions, size=size)  # type: ignore[operator]
        if self.shape_features:
            received, displacement = received.split([self.out_channels, 2], dim=-1)
            received = received + displacement @ of_displacement.t()
        out = mask_rows(self.lin_self(target) + received, mask)
        return (out, (edge_index, weight)) if return_connectivity else out

    # The name alpha lets PyG's AttentionExplainer find the weights.
    def message(self, x_j: Tensor, alpha: Tensor, pos_i: OptTensor, pos_j: OptTensor) -> Tensor:
        if pos_i is not None and pos_j is not None:
            x_j = torch.cat([x_j, (pos_i - pos_j).to(alpha.dtype).expand(*x_j.shape[:-1], -1)], dim=-1)
        return alpha.unsqueeze(-1) * x_j

    def message_and_aggregate(
        self, edge_index: Tensor, x: Tensor, alpha: Tensor, pos: PairOptTensor, dim_size: int
    ) -> Tensor:
        """The sum of messages as a product with a sparse matrix, without materialising [E, C] messages.

        Used where :func:`lgcn.nn.functional.weighted_sum.has_sparse_product`, unless ``fuse`` is :obj:`False`, an
        explainer is active, or a hook on messages or their sum is registered.
        """
        received = weighted_sum(x, alpha, edge_index, dim_size)
        if pos[0] is None or pos[1] is None:
            return received
        # Differences are taken at the edges, exactly those of eq. 4: no other position affects them.
        neighbor, receiver = edge_index
        displacement = (pos[1].index_select(0, receiver) - pos[0].index_select(0, neighbor)).to(alpha.dtype)
        total = displacement.new_zeros(dim_size, 2).index_add(0, receiver, alpha.unsqueeze(-1) * displacement)
        return torch.cat([received, total], dim=-1)


def as_edge_list(edge_index: Tensor | SparseTensor) -> Tensor:
    """A plain tensor [2, E] of neighbours and receiving nodes, from any of the layouts that PyG's layers take."""
    if isinstance(edge_index, EdgeIndex):
        return edge_index.as_tensor()
    if isinstance(edge_index, Tensor) and edge_index.layout == torch.strided:
        return edge_index
    if not is_sparse(edge_index):
        raise InputError(f"Expected 'edge_index' to be a tensor [2, E] (got {type(edge_index).__name__}).")
    layout = edge_index.layout if isinstance(edge_index, Tensor) else torch.sparse_csr
    if layout not in (torch.sparse_coo, torch.sparse_csr):
        raise InputError(f"Expected 'edge_index' as a list, COO or CSR (got {layout}). Use .to_sparse_csr().")
    if layout == torch.sparse_coo and not edge_index.is_coalesced():
        raise InputError("Expected 'edge_index' to be coalesced (got a sparse matrix that is not). Use .coalesce().")
    # A transposed matrix has the receiving nodes in its rows.
    return to_edge_index(edge_index)[0].flip(0)


def compute_weights(
    connectivity: Connectivity | None,
    x: Tensor,
    edge_index: Tensor,
    landmark_id: Tensor | None,
    confidence: Tensor | None,
    mask: Tensor | None,
) -> Tensor:
    """Edge weights by a connectivity, for nodes with features x [..., N, C]."""
    if connectivity is None:
        raise InputError("Expected 'edge_weight' [E] for a layer without a connectivity (got None).")
    if landmark_id is None or confidence is None:
        raise InputError("Expected 'landmark_id' [N] and 'confidence' [N], or 'edge_weight' [E] (got None).")
    check_shape("landmark_id", landmark_id, "N", N=x.shape[-2])
    check_shape("confidence", confidence, "... N", N=x.shape[-2])
    check_images(x.shape[:-2], confidence=(confidence, 1))
    return connectivity(landmark_id, confidence, edge_index, mask)


def mask_edges(weight: Tensor, edge_index: Tensor, mask: Tensor | None) -> Tensor:
    """Clear the weights [..., E] of edges of which one end is missing; what stands there is not read."""
    return weight if mask is None else torch.where(mask[..., edge_index].all(dim=-2), weight, 0.0)


def _pair(name: str, given: Tensor | PairTensor) -> PairTensor:
    """Source and target, the same tensor twice unless a pair is given."""
    pair: Any = given if isinstance(given, tuple) and len(given) == 2 else (given, given)
    for each in pair:
        check_shape(name, each, "... N C")
    return pair
