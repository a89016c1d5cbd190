"""A stack of the paper's graph convolutions that share one connectivity."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch_geometric.nn.inits import reset
from torch_geometric.nn.resolver import activation_resolver

from lgcn.checks import InputError
from lgcn.nn.connectivity import Connectivity
from lgcn.nn.dense_lgcn_conv import DenseLGCNConv, mean_displacement
from lgcn.nn.lgcn_conv import LGCNConv


class LGCN(nn.Module):
    r"""Layers of :class:`LGCNConv` (or of its dense twin) over edge weights computed once an image.

    Args:
        in_channels: channels of the node features :math:`\mathbf{h}^0`.
        channels: output channels of each layer; the paper has (64, 16, 2).
        connectivity: computes :math:`e_{ij}` for all layers.
        act: activation between the layers, a name of PyTorch's or None.
        shape_features: whether each layer concatenates :math:`\mathbf{q}_{ij}`; one flag for all or one a layer.
        bias: whether the layers have one.
        dense: work on complete graphs as ``[B, K, C]`` instead of on edge lists.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        connectivity: Connectivity,
        act: str | None = "relu",
        shape_features: bool | Sequence[bool] = True,
        bias: bool = True,
        dense: bool = False,
    ) -> None:
        super().__init__()
        if not channels:
            raise InputError("Expected 'channels' to hold the width of one layer at least (got none).")
        flags = [shape_features] * len(channels) if isinstance(shape_features, bool) else list(shape_features)
        if len(flags) != len(channels):
            raise InputError(f"Expected one 'shape_features' flag a layer, {len(channels)} (got {len(flags)}).")
        self.in_channels = in_channels
        self.channels = list(channels)
        self.shape_features = flags
        self.connectivity = connectivity
        self.dense = dense
        self.act = activation_resolver(act) if act else nn.Identity()
        layer = DenseLGCNConv if dense else LGCNConv
        sizes = [in_channels, *channels]
        self.convs = nn.ModuleList(
            layer(sizes[i], sizes[i + 1], shape_features=flag, bias=bias) for i, flag in enumerate(flags)
        )

    def reset_parameters(self) -> None:
        reset(self.connectivity)
        reset(self.convs)

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
        twin.act = self.act
        for mine, other in zip(self.convs, twin.convs, strict=True):
            other.lin_self, other.lin_neighbor = mine.lin_self, mine.lin_neighbor
        return twin.train(self.training)

    def forward(
        self,
        x: Tensor,
        pos: Tensor,
        confidence: Tensor,
        edge_index: Tensor | None = None,
        landmark_id: Tensor | None = None,
        mask: Tensor | None = None,
        return_connectivity: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Runs the stack.

        Args:
            x: [B, K, C] where dense, else [N, C] (or [B, N, C]: B images that share one edge list).
            pos: [B, K, 2] or [N, 2], the initial positions, which every layer sees.
            confidence: [B, K] or [N], in [0, 1].
            edge_index: [2, E], neighbours j in row 0, receiving nodes i in row 1; sparse only.
            landmark_id: [N]; sparse only.
            mask: [B, K], False where a landmark is missing; dense only.
            return_connectivity: return ``(out, e)`` with e [B, K, K] or [E].
        """
        if self.dense:
            if edge_index is not None or landmark_id is not None:
                raise InputError("Expected no 'edge_index' and no 'landmark_id' for a dense LGCN (see LGCN.twin).")
            weight = self.connectivity.dense(confidence, mask)
            where = {"mask": mask, "displacement": mean_displacement(pos, weight)}
        else:
            if edge_index is None or landmark_id is None:
                raise InputError("Expected 'edge_index' [2, E] and 'landmark_id' [N] for a sparse LGCN (got None).")
            if mask is not None:
                raise InputError("Expected no 'mask' for a sparse LGCN. Drop missing landmarks from the graph.")
            weight = self.connectivity(landmark_id, confidence, edge_index)
            where = {"edge_index": edge_index}
        for i, conv in enumerate(self.convs):
            x = conv(x if i == 0 else self.act(x), pos=pos, edge_weight=weight, **where)
        return (x, weight) if return_connectivity else x
