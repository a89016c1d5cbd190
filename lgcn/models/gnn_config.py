"""Options of the refiner "gnn": any PyG layer or model, by name."""

import sys
from collections.abc import Callable
from dataclasses import field
from difflib import get_close_matches
from inspect import Parameter, isclass, signature
from typing import Annotated, Any, Literal

import torch_geometric.nn
from pydantic.dataclasses import dataclass
from torch import nn
from torch_geometric.nn import MessagePassing

import lgcn.nn
from lgcn.checks import InputError, check_choice
from lgcn.nn.models.conv_stack import ConvStack
from lgcn.options import STRICT_KEYS, Bounds, Length, input_errors
from lgcn.registry import Registry

GNNS: Registry[Callable[..., nn.Module]] = Registry("gnn")
"""name -> ``create(in_channels, out_channels, **options)``, a model that takes ``(x, edge_index)``."""

Width = Annotated[int, Bounds(1, 4096)]


@input_errors
@dataclass(frozen=True, config=STRICT_KEYS)
class GNNConfig:
    """Options of :class:`lgcn.nn.GNNRefiner`.

    Args:
        model: A name of yours in GNNS; a layer (GATv2Conv, TransformerConv, LGCNConv) or model (GAT, GraphSAGE) of PyG
            or lgcn.nn; or the import path my_project.MyGNN of a class in a module that is imported.
        hidden_channels: Width of the hidden layers, where the model takes it.
        num_layers: Number of layers, where the model takes it.
        act: Activation between the layers, where the model takes it, or null.
        dropout: Dropout probability between the layers, where the model takes it.
        options: Further arguments of the layer or model, such as heads.
        use_connectivity: Whether refiner.connectivity gives the model its edge weights.
        visual_channels: Widths of the layers of the visual MLP; none leaves the feature map out.
        landmark_channels: Width of a learned embedding of the landmark type; 0 leaves it out.
        confidence_feature: Whether a landmark's confidence is one of its node features.
        output: Whether the model gives offsets to the initial positions, or positions.
        sampling: How the feature map is read at a landmark.
    """

    model: str = "GATv2Conv"
    hidden_channels: Width = 64
    num_layers: Annotated[int, Bounds(1, 64)] = 2
    act: str | None = "relu"
    dropout: Annotated[float, Bounds(0, 1)] = 0.0
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    use_connectivity: bool = False
    visual_channels: Annotated[tuple[Width, ...], Length(0, 64)] = (128, 64)
    landmark_channels: Annotated[int, Bounds(0, 4096)] = 32
    confidence_feature: bool = True
    output: Literal["absolute", "offset"] = "offset"
    sampling: Literal["bilinear", "nearest"] = "bilinear"

    def build(self, in_channels: int, out_channels: int) -> nn.Module:
        """Create the model.

        Raises:
            InputError: for an unknown name, a class without ``in_channels`` and ``out_channels``, or options that it
                does not take.
        """
        create = find_gnn(self.model)
        parameters = signature(create).parameters
        takes_any = any(each.kind is Parameter.VAR_KEYWORD for each in parameters.values())
        is_layer = isclass(create) and issubclass(create, MessagePassing)
        for name in ("in_channels", "out_channels"):
            if name not in parameters and (is_layer or not takes_any):
                raise InputError(
                    f"Expected the GNN '{self.model}' to take 'in_channels' and 'out_channels' (got "
                    f"{', '.join(parameters) or 'no arguments'}). Use it in a class of yours that does, registered in "
                    "lgcn.models.GNNS."
                )
        if is_layer:
            return ConvStack(
                create,
                in_channels,
                out_channels,
                self.hidden_channels,
                self.num_layers,
                self.act,
                self.dropout,
                **self.options,
            )
        given = {"in_channels": in_channels, "out_channels": out_channels}
        for name in ("hidden_channels", "num_layers", "act", "dropout"):
            if name in parameters:
                given[name] = getattr(self, name)
        if not takes_any:
            for name in self.options:
                check_choice("refiner.gnn.options", name, [known for known in parameters if known not in given])
        try:
            return create(**{**given, **self.options})
        except InputError:
            raise
        except Exception as error:  # whatever a class that is named by a file does with options of that file
            raise InputError(f"Expected options of the GNN '{self.model}' (got {self.options}: {error}).") from error


def find_gnn(name: str) -> Callable[..., nn.Module]:
    """Return a registered model, a class of lgcn.nn or PyG, or a class by its import path.

    Modules are not imported here: the name may come from the ``config.json`` of a downloaded model.

    Raises:
        InputError: if there is none.
    """
    if name in GNNS:
        return GNNS[name]
    module, _, attribute = name.rpartition(".")
    found = None
    if module:
        if module not in sys.modules:
            raise InputError(
                f"Expected 'refiner.gnn.model' in a module that is imported (got '{name}'). Import '{module}' before, "
                f"or on the command line: lgcn --import {module} COMMAND ..."
            )
        found = getattr(sys.modules[module], attribute, None)
    else:
        for library in (lgcn.nn, torch_geometric.nn):
            found = found or getattr(library, name, None)
    if not (isclass(found) and issubclass(found, nn.Module)):
        if module:
            raise InputError(f"Expected 'refiner.gnn.model' to be a torch.nn.Module of '{module}' (got '{attribute}').")
        near = get_close_matches(name, [*GNNS.names(), *dir(lgcn.nn), *dir(torch_geometric.nn)], n=1)
        raise InputError(
            "Expected 'refiner.gnn.model' to be a class of torch_geometric.nn or lgcn.nn, such as GATv2Conv or GAT, an "
            f"import path, or a name in lgcn.models.GNNS, which has {', '.join(GNNS.names()) or 'none'} (got "
            f"'{name}'). " + (f"Did you mean '{near[0]}'? " if near else "") + "If it is your own, import the module "
            "that registers it before, on the command line with lgcn --import MODULE COMMAND ..."
        )
    return found
