"""Common base of the edge-list and the dense layer: parameters, reset and repr."""

from typing import Any

from torch import Tensor, nn
from torch_geometric.nn import Linear

from lgcn.checks import InputError
from lgcn.nn.connectivity import Connectivity


class LGCNConvBase(nn.Module):
    """Parameters of eq. 4: ``lin_self`` is W_1 with its bias, ``lin_neighbor`` is W_2."""

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        connectivity: Connectivity | None = None,
        shape_features: bool = True,
        bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_connectivity(connectivity, optional=True)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.connectivity = connectivity
        self.shape_features = shape_features
        source, target = (in_channels, in_channels) if isinstance(in_channels, int) else in_channels
        # Linear layers reset themselves. The given connectivity may be trained and is not reset.
        self.lin_self = Linear(target, out_channels, bias=bias)
        self.lin_neighbor = Linear(source if source < 0 else source + 2 * shape_features, out_channels, bias=False)

    def reset_parameters(self) -> None:
        """Resets the parameters of the layer and of its connectivity."""
        self.lin_self.reset_parameters()
        self.lin_neighbor.reset_parameters()
        if self.connectivity is not None:
            self.connectivity.reset_parameters()

    def initialize_lazily(self, source: Tensor, target: Tensor) -> tuple[int, int]:
        """Creates parameters whose size was given as -1, and returns the channels of both inputs."""
        for linear, x, more in ((self.lin_neighbor, source, 2 * self.shape_features), (self.lin_self, target, 0)):
            if linear.in_channels < 0:
                linear.initialize_parameters(linear, (x.new_empty(0, x.shape[-1] + more),))
        return self.lin_neighbor.in_channels - 2 * self.shape_features, self.lin_self.in_channels

    @property
    def neighbor_weights(self) -> tuple[Tensor, Tensor]:
        """W_2's shares of the features [C', C] and of the displacement [C', 2 or 0]."""
        weight = self.lin_neighbor.weight
        split = weight.shape[1] - 2 * self.shape_features
        return weight[:, :split], weight[:, split:]

    def __repr__(self) -> str:
        options = f"connectivity={self.connectivity}, shape_features={self.shape_features}"
        if self.lin_self.bias is None:
            options += ", bias=False"
        if getattr(self, "aggr", "add") != "add":
            options += f", aggr={self.aggr}"
        return f"{type(self).__name__}({self.in_channels}, {self.out_channels}, {options})"


def check_connectivity(connectivity: object, optional: bool = False) -> None:
    """Checks the type of a connectivity.

    Raises:
        InputError: naming the argument.
    """
    if not isinstance(connectivity, Connectivity) and not (optional and connectivity is None):
        raise InputError(
            f"Expected 'connectivity' to be a Connectivity (got {connectivity!r}). For example "
            "LearnableConnectivity(num_landmarks)."
        )


def mask_rows(x: Tensor, mask: Tensor | None) -> Tensor:
    """Clears the rows of x [..., C] where ``mask`` [...] is False; their values are not read."""
    return x if mask is None else x.masked_fill(~mask.unsqueeze(-1), 0.0)
