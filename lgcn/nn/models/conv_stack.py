"""Any PyG model or layer on landmark graphs: arguments by name, and stacks of one kind of layer."""

from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from typing import Any, cast

from torch import Tensor, nn
from torch_geometric.nn.resolver import activation_resolver

from lgcn.checks import InputError, check_at_least, check_number

GRAPH_ARGUMENTS = ("edge_weight", "edge_attr", "pos", "landmark_id", "confidence", "batch")
"""What a model gets besides ``x`` and ``edge_index`` if its ``forward`` has an argument of that name."""


def graph_arguments(model: nn.Module) -> tuple[str, ...]:
    """Names of ``edge_index`` and :data:`GRAPH_ARGUMENTS` that a model's ``forward`` takes.

    ``edge_attr``, for which most layers have no weights by default, counts only where it must be given or the layer's
    ``edge_dim`` says that it has some.
    """
    parameters = signature(model.forward).parameters
    names = [name for name in ("edge_index", *GRAPH_ARGUMENTS) if name in parameters]
    has_edge_features = getattr(model, "edge_dim", None) is not None
    if "edge_attr" in names and not has_edge_features and parameters["edge_attr"].default is not Parameter.empty:
        names.remove("edge_attr")
    return tuple(names)


def run_on_graph(
    model: nn.Module, names: tuple[str, ...], x: Tensor, edge_index: Tensor, graph: Mapping[str, Tensor | None]
) -> Tensor:
    """Call a PyG model or layer with the arguments that it takes.

    Args:
        model: takes ``(x, edge_index)`` and any of :data:`GRAPH_ARGUMENTS` by name.
        names: :func:`graph_arguments` of the model.
        x: [N, C].
        edge_index: [2, E].
        graph: values of :data:`GRAPH_ARGUMENTS`; those that are None are not passed.
    """
    chosen = {name: graph[name] for name in names if graph.get(name) is not None}
    # PointNetConv and its relatives take positions before edges.
    return model(x, edge_index=edge_index, **chosen) if "edge_index" in names else model(x, edge_index, **chosen)


class ConvStack(nn.Module):
    """A stack of PyG layers of one kind, with activation and dropout between them.

    :mod:`torch_geometric.nn.models` has such stacks for some layers; this one takes any, and hands each layer what its
    ``forward`` asks for: edge weights, positions, landmark types.

    Args:
        conv: a layer, ``conv(in_channels, out_channels, **options)``, such as ``GATv2Conv``. Where it has ``heads``,
            they share the hidden channels, and those of the last layer are averaged.
        in_channels: width of the node features.
        out_channels: width of the output.
        hidden_channels: width between the layers.
        num_layers: number of layers.
        act: activation between the layers, a name that PyG resolves, or None.
        dropout: dropout probability between the layers.
        **options: of every layer.

    Raises:
        InputError: for options that the layer does not take.
    """

    def __init__(
        self,
        conv: Callable[..., nn.Module],
        in_channels: int,
        out_channels: int,
        hidden_channels: int = 64,
        num_layers: int = 2,
        act: str | None = "relu",
        dropout: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__()
        check_at_least("num_layers", num_layers, 1)
        widths = [in_channels, *[check_at_least("hidden_channels", hidden_channels, 1)] * (num_layers - 1)]
        has_heads = {"heads", "concat"} <= signature(conv).parameters.keys()
        heads = options.get("heads", 1) if has_heads else 1
        if hidden_channels % heads:
            raise InputError(f"Expected 'hidden_channels' in multiples of {heads} heads (got {hidden_channels}).")
        self.convs = nn.ModuleList()
        try:
            for layer, width in enumerate(widths):
                is_last = layer == num_layers - 1
                concat = {"concat": not is_last} if has_heads else {}
                out = out_channels if is_last else hidden_channels // heads
                self.convs.append(conv(width, out, **{**options, **concat}))
        except InputError:
            raise
        except Exception as error:  # whatever a layer of somebody else does with options it cannot use
            name = getattr(conv, "__name__", type(conv).__name__)
            raise InputError(f"Expected options of '{name}' (got {options}: {error}).") from error
        self._arguments = [graph_arguments(each) for each in self.convs]
        self.act = nn.Identity() if act is None else activation_resolver(act)
        self.dropout = nn.Dropout(check_number("dropout", dropout, 0, 1))

    def reset_parameters(self) -> None:
        """Draw new parameters for all layers."""
        for conv in self.convs:
            cast(Any, conv).reset_parameters()

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        edge_weight: Tensor | None = None,
        edge_attr: Tensor | None = None,
        pos: Tensor | None = None,
        landmark_id: Tensor | None = None,
        confidence: Tensor | None = None,
        batch: Tensor | None = None,
    ) -> Tensor:
        """Return [N, out_channels].

        Args:
            x: [N, C].
            edge_index: [2, E].
            edge_weight: [E].
            edge_attr: [E, D], for layers with ``edge_dim``.
            pos: [N, 2].
            landmark_id: [N].
            confidence: [N].
            batch: [N].
        """
        graph = {
            "edge_weight": edge_weight,
            "edge_attr": edge_attr,
            "pos": pos,
            "landmark_id": landmark_id,
            "confidence": confidence,
            "batch": batch,
        }
        for layer, (conv, names) in enumerate(zip(self.convs, self._arguments, strict=True)):
            if layer:
                x = self.dropout(self.act(x))
            x = run_on_graph(conv, names, x, edge_index, graph)
        return x

    @property
    def edge_dim(self) -> int | None:
        """Width of the edge features that the layers take; None if they take none."""
        return getattr(self.convs[0], "edge_dim", None)
