"""The paper's graph convolution on any PyG graph."""

import re
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing
from torch_geometric.nn.aggr import MeanAggregation, MultiAggregation, SumAggregation
from torch_geometric.typing import OptTensor
from torch_geometric.utils import to_edge_index

from lgcn.checks import InputError, check_edges, check_images, check_mask, check_shape
from lgcn.nn.connectivity import Connectivity
from lgcn.nn.functional.autocast import autocast_disabled
from lgcn.nn.functional.weighted_sum import has_sparse_product, weighted_sum

_MESSAGE_HOOKS = re.compile("_(propagate|message|aggregate|message_and_aggregate)_forward(_pre)?_hooks")


def graph_centres(pos: Tensor, edge_index: Any, mask: Tensor | None = None) -> Tensor:
    """For each node the mean position of its graph, [..., N, 2], of the nodes that are there; without gradients.

    Only differences of positions enter a layer. Sums of these are exact wherever graphs lie if positions are taken
    from such a point, one for all nodes that edges join. Graphs of a batch follow one another: one ends at each node
    that no edge passes. Where nodes stand in another order, several graphs have one centre.

    Args:
        pos: [..., N, 2], 0 where a node is missing.
        edge_index: [2, E], or another layout of PyG's.
        mask: [..., N], False where a node is missing.
    """
    pos, num_nodes = pos.detach(), pos.shape[-2]
    one, other = _ends(edge_index)
    each = torch.ones((), dtype=torch.long, device=pos.device).expand_as(one)
    # How many edges begin at a node or before and end behind it.
    passing = torch.zeros(num_nodes, dtype=torch.long, device=pos.device)
    passing = passing.index_add(0, torch.minimum(one, other), each)
    passing = passing.index_add(0, torch.maximum(one, other), each, alpha=-1).cumsum(0)
    # Graphs begin behind the nodes where others end; the last node ends one, and is rolled to the front.
    graph = (passing == 0).roll(1).cumsum(0) - 1
    there = torch.ones_like(pos[..., :1]) if mask is None else mask.unsqueeze(-1).expand(*pos.shape[:-1], 1)
    # At least in single precision, in which sums neither overflow nor come to a standstill.
    each_pos = torch.cat([pos, there.to(pos.dtype)], dim=-1).to(torch.promote_types(pos.dtype, torch.float32))
    total = torch.zeros_like(each_pos).index_add(-2, graph, each_pos)
    return (total[..., :2] / total[..., 2:].clamp_min(1)).index_select(-2, graph).to(pos.dtype)


def _ends(edge_index: Any) -> tuple[Tensor, Tensor]:
    """The nodes at the two ends of each edge, [E] both, in whatever layout edges come."""
    if not isinstance(edge_index, Tensor) or edge_index.layout != torch.strided:
        edge_index = to_edge_index(edge_index)[0]
    return edge_index[0], edge_index[1]


def without_missing_ends(edge_weight: Tensor, edge_index: Any, mask: Tensor) -> Tensor:
    """Weights [E] or [B, E] that are 0 on all edges of nodes that ``mask`` [N] or [B, N] says are missing."""
    one, other = _ends(edge_index)
    return torch.where(mask[..., one] & mask[..., other], edge_weight, 0.0)


class LGCNConv(MessagePassing):
    r"""Graph convolution with learnable connectivity and shape features, eq. 4.

    .. math::
        \mathbf{h}'_i = \mathbf{W}_1 \mathbf{h}_i + \sum_{j \in \mathcal{N}(i)} e_{ij} \mathbf{W}_2
        (\mathbf{h}_j \oplus \mathbf{q}_{ij}) + \mathbf{b}, \qquad \mathbf{q}_{ij} = \mathbf{p}_i - \mathbf{p}_j

    from `"Facial Landmark Detection with Learnable Connectivity Graph Convolutional Network"`, where
    :math:`e_{ij}` are given as ``edge_weight`` or computed from landmark types and confidences by
    ``connectivity``.

    Nodes are transformed before messages are sent, which is exact: with :math:`\mathbf{W}_2 = [\mathbf{W}_{2h},
    \mathbf{W}_{2q}]` the sum is :math:`\sum_j e_{ij} (\mathbf{W}_{2h} \mathbf{h}_j - \mathbf{W}_{2q} \mathbf{p}_j) +
    (\sum_j e_{ij}) \mathbf{W}_{2q} \mathbf{p}_i`, and no tensor of E x (C + 2) is made.

    On a CPU, where messages are plain (no explainer, no hook, ``aggr="add"``), their sums are products with a sparse
    matrix and no message is written down, see :mod:`lgcn.nn.functional.weighted_sum`.

    Images that share one edge list need no block-diagonal batch: a leading axis B of nodes [B, N, F] and
    of what comes with them works as well.

    Args:
        in_channels (int): Channels of the input features :math:`\mathbf{h}`.
        out_channels (int): Channels of the output features.
        connectivity (Connectivity, optional): Computes :math:`e_{ij}`; without it ``edge_weight`` must be given.
            (default: :obj:`None`)
        shape_features (bool, optional): Whether :math:`\mathbf{q}_{ij}` is concatenated. (default: :obj:`True`)
        bias (bool, optional): Whether :math:`\mathbf{b}` is added. (default: :obj:`True`)
        **kwargs (optional): Additional arguments of :class:`torch_geometric.nn.MessagePassing`; with shape features
            the aggregation must be linear, ``"add"`` (the paper, the default) or ``"mean"``.

    Shapes:
        - **input:** node features :math:`(N, F_{in})`, positions :math:`(N, 2)`, edge indices :math:`(2, E)`,
          landmark ids :math:`(N)` and confidences :math:`(N)`, or edge weights :math:`(E)`
        - **output:** node features :math:`(N, F_{out})`, or
          :math:`((N, F_{out}), ((2, E), (E)))` if :obj:`return_connectivity=True`
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        connectivity: Connectivity | None = None,
        shape_features: bool = True,
        bias: bool = True,
        **kwargs: Any,
    ) -> None:
        aggr = kwargs.setdefault("aggr", "add")
        try:
            super().__init__(node_dim=-2, **kwargs)
        except ValueError as error:
            if not isinstance(aggr, str) or f"'{aggr}'" not in str(error):
                raise
            raise InputError(f"Expected 'aggr' to be one of PyG's (got '{aggr}'). Such as 'add' or 'mean'.") from error
        if shape_features and not isinstance(self.aggr_module, SumAggregation | MeanAggregation):
            raise InputError(
                f"Expected 'aggr' to be 'add' or 'mean' with shape features, which are split off the sum over the "
                f"neighbours (got {aggr!r}). Or set shape_features=False."
            )
        if isinstance(self.aggr_module, MultiAggregation) and self.aggr_module.mode == "cat":
            raise InputError(
                f"Expected 'aggr' to give as many channels as it takes (got {aggr!r}, which stand side by side). Name "
                "one, or combine them: aggr_kwargs={'mode': 'sum'}."
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.connectivity = connectivity
        self.shape_features = shape_features
        self.lin_self = nn.Linear(in_channels, out_channels, bias=bias)
        self.lin_neighbor = nn.Linear(in_channels + 2 * shape_features, out_channels, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.lin_self.reset_parameters()
        self.lin_neighbor.reset_parameters()
        if self.connectivity is not None:
            self.connectivity.reset_parameters()

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        pos: Tensor | None = None,
        landmark_id: Tensor | None = None,
        confidence: Tensor | None = None,
        edge_weight: Tensor | None = None,
        mask: Tensor | None = None,
        return_connectivity: bool = False,
        origin: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, tuple[Tensor, Tensor]]:
        """Runs the layer.

        Args:
            x: [N, in_channels] or [B, N, in_channels].
            edge_index: [2, E], neighbours j in row 0, receiving nodes i in row 1. Also an ``EdgeIndex``, or a
                transposed ``SparseTensor`` or sparse matrix of torch's, as PyG takes them.
            pos: [N, 2] or [B, N, 2], positions; needed with shape features.
            landmark_id: [N], types in 0 ... K - 1; needed where no ``edge_weight`` is given.
            confidence: [N] or [B, N], in [0, 1]; needed where no ``edge_weight`` is given.
            edge_weight: [E] or [B, E], used as it is instead of the connectivity.
            mask: [N] or [B, N], False where a node is missing: nobody's neighbour, whoever gives the weights, and its
                output is 0. What stands there is not read. Its edges weigh 0, which ``aggr="add"`` cannot tell from
                no edges; a mean still counts them.
            return_connectivity: return ``(out, (edge_index, edge_weight))``.
            origin: [N, 2] or [B, N, 2], :func:`graph_centres` where they are known already.

        Raises:
            InputError: for shapes, types or values that do not fit (values are looked at on the CPU only, and not
                while compiling).
        """
        check_shape("x", x, "... N C", C=self.in_channels)
        listed = isinstance(edge_index, Tensor) and edge_index.layout == torch.strided
        if listed:
            check_edges("edge_index", edge_index, x.shape[-2])
        elif isinstance(edge_index, Tensor) and edge_index.layout == torch.sparse_coo and not edge_index.is_coalesced():
            raise InputError(
                "Expected 'edge_index' to be coalesced (got a sparse matrix that is not). Use .coalesce()."
            )
        check_images(
            x.shape[:-2], pos=(pos, 2), confidence=(confidence, 1), edge_weight=(edge_weight, 1), mask=(mask, 1)
        )
        if mask is not None:
            check_mask("mask", mask, "... N", N=x.shape[-2])
            x = x.masked_fill(~mask.unsqueeze(-1), 0.0)
        if edge_weight is None:
            edge_weight = self._connect(edge_index, landmark_id, confidence, mask, x.shape[-2])
        else:
            if listed:
                check_shape("edge_weight", edge_weight, "... E", E=edge_index.shape[1])
            edge_weight = edge_weight if mask is None else without_missing_ends(edge_weight, edge_index, mask)
        sent, placed = x @ self.lin_neighbor.weight[:, : self.in_channels].t(), None
        if self.shape_features:
            placed = self._place(pos, edge_index, mask, origin, x.shape[-2])
            sent = sent - placed
            # A channel of ones brings the sum of the weights, of those messages that an explainer lets through.
            sent = torch.cat([sent, torch.ones_like(sent[..., :1])], dim=-1)
        if self._sends_plain_messages(edge_index) and has_sparse_product(sent, edge_weight, edge_index):
            out = weighted_sum(sent, edge_weight, edge_index)
        else:
            # propagate_type: (x: Tensor, alpha: Tensor)
            out = self.propagate(edge_index, x=sent, alpha=edge_weight)
        if placed is not None:
            out = out[..., :-1] + out[..., -1:] * placed
        out = self.lin_self(x) + out
        if mask is not None:
            out = out * mask.unsqueeze(-1)
        return (out, (edge_index, edge_weight)) if return_connectivity else out

    def _place(
        self, pos: Tensor | None, edge_index: Tensor, mask: Tensor | None, origin: Tensor | None, num_nodes: int
    ) -> Tensor:
        """W_2's share of the positions, [..., N, C'], which autocast does not round."""
        if pos is None:
            raise InputError("Expected 'pos' [N, 2] for shape features (got None). Or set shape_features=False.")
        check_shape("pos", pos, "... N 2", N=num_nodes)
        with autocast_disabled(pos.device.type):
            pos = pos if mask is None else pos.masked_fill(~mask.unsqueeze(-1), 0.0)
            if origin is None:
                origin = graph_centres(pos, edge_index, mask)
            check_shape("origin", origin, "... N 2", N=num_nodes)
            pos = pos - origin
            weight = self.lin_neighbor.weight[:, self.in_channels :]
            return pos.to(weight.dtype) @ weight.t()

    def _sends_plain_messages(self, edge_index: Tensor) -> bool:
        """Whether nobody looks at single messages or changes them, so that their sums are all that is wanted."""
        if torch.compiler.is_compiling():
            return False
        watched = any(hooks for name, hooks in vars(self).items() if _MESSAGE_HOOKS.fullmatch(name))
        return (
            type(edge_index) is Tensor
            and type(self).message is LGCNConv.message
            and type(self.aggr_module) is SumAggregation
            and self.flow == "source_to_target"
            and self.decomposed_layers == 1
            and not self.explain
            and not watched
        )

    def _connect(
        self,
        edge_index: Tensor,
        landmark_id: Tensor | None,
        confidence: Tensor | None,
        mask: Tensor | None,
        num_nodes: int,
    ) -> Tensor:
        if self.connectivity is None:
            raise InputError("Expected 'edge_weight' [E] for a layer without a connectivity (got None).")
        if landmark_id is None or confidence is None:
            raise InputError("Expected 'landmark_id' [N] and 'confidence' [N], or 'edge_weight' [E] (got None).")
        check_shape("landmark_id", landmark_id, "N", N=num_nodes)
        check_shape("confidence", confidence, "... N", N=num_nodes)
        landmark_id, confidence = self.connectivity.check_nodes(landmark_id, confidence, mask)
        node = torch.arange(num_nodes, device=landmark_id.device)
        there = None if mask is None else mask.unsqueeze(-1)
        # edge_updater_type: (landmark_id: Tensor, confidence: Tensor, node: Tensor, mask: OptTensor)
        return self.edge_updater(
            edge_index,
            landmark_id=landmark_id.unsqueeze(-1),
            confidence=confidence.unsqueeze(-1),
            node=node.unsqueeze(-1),
            mask=there,
        )

    def edge_update(
        self,
        landmark_id_i: Tensor,
        landmark_id_j: Tensor,
        confidence_i: Tensor,
        confidence_j: Tensor,
        node_i: Tensor,
        node_j: Tensor,
        mask_i: OptTensor,
        mask_j: OptTensor,
        index: Tensor,
        dim_size: int,
    ) -> Tensor:
        assert self.connectivity is not None
        weight = self.connectivity.edge_weight(
            landmark_id_i.squeeze(-1),
            landmark_id_j.squeeze(-1),
            confidence_i.squeeze(-1),
            confidence_j.squeeze(-1),
            index,
            dim_size,
            loop=(node_i == node_j).squeeze(-1) if self.connectivity.self_loops == "zero" else None,
            keep=None if mask_i is None or mask_j is None else (mask_i & mask_j).squeeze(-1),
        )
        return weight.expand(*confidence_i.shape[:-2], -1)

    # By the name of alpha PyG's AttentionExplainer finds the weights.
    def message(self, x_j: Tensor, alpha: Tensor) -> Tensor:
        return alpha.unsqueeze(-1) * x_j

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}({self.in_channels}, {self.out_channels}, "
            f"connectivity={self.connectivity}, shape_features={self.shape_features})"
        )
