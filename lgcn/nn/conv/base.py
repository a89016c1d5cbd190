"""Common base of the edge-list and the dense layer: parameters, reset and repr."""

from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import Linear

from lgcn.checks import InputError, check_at_least, check_devices, check_flag, shown
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
        pair = in_channels if isinstance(in_channels, tuple) and len(in_channels) == 2 else (in_channels, in_channels)
        source, target = (check_at_least("in_channels", width, -1) for width in pair)
        if 0 in (source, target):
            raise InputError(f"Expected 'in_channels' of 1 or more, or -1 (got {in_channels}).")
        self.in_channels = in_channels
        self.out_channels = check_at_least("out_channels", out_channels, 1)
        self.connectivity = connectivity
        self.shape_features = check_flag("shape_features", shape_features)
        check_flag("bias", bias)
        # Linear layers reset themselves. The given connectivity may be trained and is not reset.
        self.lin_self = Linear(target, out_channels, bias=bias)
        self.lin_neighbor = Linear(source if source < 0 else source + 2 * shape_features, out_channels, bias=False)

    def reset_parameters(self) -> None:
        """Reset the parameters of the layer and of its connectivity."""
        self.lin_self.reset_parameters()
        self.lin_neighbor.reset_parameters()
        if self.connectivity is not None:
            self.connectivity.reset_parameters()

    def initialize_lazily(self, source: Tensor, target: Tensor) -> tuple[int, int]:
        """Create parameters whose size was given as -1, and return the channels of both inputs."""
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
        options += "" if self.lin_self.bias is not None else ", bias=False"
        options += "" if getattr(self, "aggr", "add") == "add" else f", aggr={self.aggr}"
        return f"{type(self).__name__}({self.in_channels}, {self.out_channels}, {options})"


def check_connectivity(connectivity: object, optional: bool = False) -> None:
    """Raise an :class:`InputError` unless the type is that of a connectivity."""
    if not isinstance(connectivity, Connectivity) and not (optional and connectivity is None):
        raise InputError(
            f"Expected 'connectivity' to be a Connectivity (got {shown(connectivity)}). For example "
            "LearnableConnectivity(num_landmarks)."
        )


def first_parameter(module: nn.Module) -> Tensor:
    """One parameter, or one buffer in its place, whose type and device stand for those of all."""
    return next(chain(module.parameters(), module.buffers()))


def check_like(parameter: Tensor, /, dtype: bool = True, **tensors: Tensor | None) -> None:
    """Raise an :class:`InputError` for a tensor that is not where the parameters are and, if ``dtype``, of their type.

    Under autocast any type will do. Tensors that are None are left out.
    """
    check_devices(parameter.device, "the parameters", **tensors)
    if torch.compiler.is_compiling() or torch.is_autocast_enabled(parameter.device.type):
        return
    for name, tensor in tensors.items():
        if tensor is not None and (tensor.dtype != parameter.dtype if dtype else tensor.dtype == torch.bool):
            wanted = f"of {parameter.dtype}, as the parameters are" if dtype else "to hold numbers"
            raise InputError(f"Expected '{name}' {wanted} (got {tensor.dtype}). Use .to({parameter.dtype}).")


def mask_rows(x: Tensor, mask: Tensor | None) -> Tensor:
    """Clear the rows of x [..., C] where ``mask`` [...] is False; their values are not read."""
    return x if mask is None else x.masked_fill(~mask.unsqueeze(-1), 0.0)
