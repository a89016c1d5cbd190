"""The forward pass that dense layers share, for training and for inference."""

from abc import abstractmethod
from typing import Any, Literal, overload

from torch import Tensor, nn

from lgcn.checks import InputError, check_mask, check_shape
from lgcn.nn.connectivity.base import Connectivity
from lgcn.nn.conv.base import SharedEdges, mask_rows, mask_weights
from lgcn.nn.functional.displacement import mean_displacement


class DenseConv(nn.Module):
    """A layer of eq. 4 on complete graphs; a subclass holds the parameters and defines :meth:`convolve`."""

    connectivity: Connectivity | None
    shape_features: bool

    @abstractmethod
    def initialize_lazily(self, source: Tensor, target: Tensor) -> tuple[int, int]:
        """Creates parameters whose size was given as -1, and returns the channels of both inputs."""

    @abstractmethod
    def convolve(self, x: Tensor, edge_weight: Tensor, displacement: Tensor | None) -> Tensor:
        """:meth:`forward` without checks.

        Args:
            x: [B, K, in_channels], 0 where a landmark is missing.
            edge_weight: [B, K, K].
            displacement: [B, K, 2], of :func:`lgcn.nn.functional.displacement.mean_displacement`; needed with shape
                features.
        """

    @overload
    def forward(self, *args: Any, return_connectivity: Literal[False] = ..., **kwargs: Any) -> Tensor: ...

    @overload
    def forward(self, *args: Any, return_connectivity: Literal[True], **kwargs: Any) -> tuple[Tensor, Tensor]: ...

    def forward(  # type: ignore[misc]
        self,
        x: Tensor,
        pos: Tensor | None = None,
        confidence: Tensor | None = None,
        edge_weight: Tensor | SharedEdges | None = None,
        mask: Tensor | None = None,
        return_connectivity: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Runs the forward pass.

        Args:
            x: [B, K, in_channels], node k of type k.
            pos: [B, K, 2], positions; needed with shape features.
            confidence: [B, K], in [0, 1]; needed without ``edge_weight``.
            edge_weight: [B, K, K] or [K, K], used instead of the connectivity; row i holds the weights of i's
                neighbours.
            mask: [B, K], False where a landmark is missing: it is no node's neighbour, also with given weights, and
                its output is 0. Values at a missing landmark are not read.
            return_connectivity: return ``(out, edge_weight)``.

        Raises:
            InputError: for shapes, types or values that do not fit (values are checked on the CPU only, and nothing
                is checked while compiling).
        """
        if isinstance(edge_weight, SharedEdges):
            self.initialize_lazily(x, x)
            return self.convolve(x, edge_weight.weight, edge_weight.displacement)
        check_shape("x", x, "B K C")
        check_shape("x", x, "B K C", C=self.initialize_lazily(x, x)[0])
        check_dense_inputs(x, pos, mask, self.shape_features)
        x = mask_rows(x, mask)
        weight, complete = dense_weights(self.connectivity, x, confidence, edge_weight, mask)
        displacement = None
        if self.shape_features and pos is not None:
            displacement = mean_displacement(mask_rows(pos, mask), weight, complete)
        out = mask_rows(self.convolve(x, weight, displacement), mask)
        return (out, weight) if return_connectivity else out


def narrows(in_channels: int, out_channels: int) -> bool:
    """Whether to transform features before they are summed over the neighbours, instead of afterwards.

    The sum is cheaper in the narrower space, 1.8 times for 64 to 16 channels at K = 98, B = 32, unless it is so narrow
    that products with it are slow.
    """
    return in_channels >= 2 * out_channels and out_channels >= 8


def check_dense_inputs(x: Tensor, pos: Tensor | None, mask: Tensor | None, shape_features: bool) -> None:
    """Checks what depends on the shape of x [B, K, C].

    Raises:
        InputError: naming the argument.
    """
    images, landmarks = x.shape[:2]
    if shape_features and pos is None:
        raise InputError("Expected 'pos' [B, K, 2] for shape features (got None). Or set shape_features=False.")
    if pos is not None:
        check_shape("pos", pos, "B K 2", B=images, K=landmarks)
    if mask is not None:
        check_mask("mask", mask, "B K", B=images, K=landmarks)


def dense_weights(
    connectivity: Connectivity | None,
    x: Tensor,
    confidence: Tensor | None,
    edge_weight: Tensor | None,
    mask: Tensor | None,
) -> tuple[Tensor, bool]:
    """Edge weights [B, K, K], given or computed, without edges of missing landmarks.

    Returns:
        Weights, and whether each row is known to sum to 1 and each landmark to be a neighbour.

    Raises:
        InputError: naming the argument.
    """
    images, landmarks = x.shape[:2]
    if confidence is not None:
        check_shape("confidence", confidence, "B K", B=images, K=landmarks)
    if edge_weight is None:
        if connectivity is None or confidence is None:
            raise InputError("Expected 'edge_weight' [B, K, K], or a connectivity and 'confidence' [B, K] (got None).")
        return connectivity.dense(confidence, mask), mask is None and connectivity.sums_to_one
    check_shape("edge_weight", edge_weight, "... K K", K=landmarks)
    if edge_weight.dim() > 2 and edge_weight.shape[0] != 1:
        check_shape("edge_weight", edge_weight, "B K K", B=images, K=landmarks)
    weight = edge_weight.expand(images, -1, -1)
    weight = weight if mask is None else mask_weights(weight, mask.unsqueeze(-1), mask.unsqueeze(-2))
    return weight, False
