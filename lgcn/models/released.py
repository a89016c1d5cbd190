"""Conversion of checkpoints of the code released with the paper: its graph network, and its HRNet.

That code differs from the paper's text (``docs/presets.md``); the preset ``"official"`` follows the code. The entries
of a ``GCNLandmark``, alone or with the prefix ``gcn_model.`` in a whole model, are renamed:

=============================================  ===============================================
theirs                                         :class:`lgcn.nn.LandmarkRefiner`
=============================================  ===============================================
``class_embedding.hidden_layers.{i}.linear``   ``lgcn.connectivity.class_mlp.lins.{i}``
``class_embedding.hidden_layers.{i}.bn``       ``lgcn.connectivity.class_mlp.norms.{i}.module``
``class_embedding.out.linear``                 ``lgcn.connectivity.class_mlp.lins``, the last
``edges.linear.linear``, ``.bn``               ``lgcn.connectivity.edge_mlp.lins.0``, ``norms.0.module``
``edges.out.linear``, ``.bn``                  ``lgcn.connectivity.edge_mlp.lins.1``, ``norms.1.module``
``visual_feature_embedding``                   ``visual_mlp``, as the class embedding
``gcn_layers.{i}.w1`` (neighbours)             ``lgcn.convs.{i}.lin_neighbor.weight``
``gcn_layers.{i}.w2`` (the node itself)        ``lgcn.convs.{i}.lin_self.weight``
=============================================  ===============================================
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lgcn.backbones import convert_hrnet_state_dict, read_weights
from lgcn.checks import InputError
from lgcn.models.detector import LandmarkDetector
from lgcn.models.loading import check_weights
from lgcn.models.presets import PRESETS
from lgcn.nn import LandmarkRefiner
from lgcn.options import update
from lgcn.schemes import SCHEMES, LandmarkScheme
from lgcn.typing import Size

_CLASS, _EDGE, _VISUAL = "lgcn.connectivity.class_mlp", "lgcn.connectivity.edge_mlp", "visual_mlp"
_MLPS = {"class_embedding": _CLASS, "visual_feature_embedding": _VISUAL}
_EDGE_PARTS = {
    "linear.linear": "lins.0",
    "linear.bn": "norms.0.module",
    "out.linear": "lins.1",
    "out.bn": "norms.1.module",
}
_GRAPH = "gcn_model."
_BACKBONE = "hm_model."


def convert_released_graph(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the graph's entries of a released state dict to those of :class:`lgcn.nn.LandmarkRefiner`.

    Args:
        state: of the graph alone or of the whole model (``gcn_model.*``), also behind ``module.``; not changed.

    Raises:
        InputError: if an entry of the graph is not known, or there is none.
    """
    state = _without(state, "module.")
    if any(key.startswith(_GRAPH) for key in state):
        state = {key.removeprefix(_GRAPH): value for key, value in state.items() if key.startswith(_GRAPH)}
    state = _without(state, "module.")
    last = {name: _count(state, rf"{name}\.hidden_layers\.(\d+)\.linear\.weight") for name in _MLPS}
    converted = {_rename(key, last): value for key, value in state.items()}
    if f"{_CLASS}.lins.0.weight" not in converted or "lgcn.convs.0.lin_self.weight" not in converted:
        raise InputError("Expected the state of the released code's graph (got no 'class_embedding' or 'gcn_layers').")
    return converted


def load_released_refiner(source: str | Path | Mapping[str, Tensor], input_size: Size = (256, 256)) -> LandmarkRefiner:
    """Load the graph of a released checkpoint, in eval mode, in which its outputs equal the released code's.

    Args:
        source: a file of :func:`torch.save`, or a state dict.
        input_size: (H, W) of the network's input.

    Raises:
        InputFileError: if the file cannot be read.
        InputError: if it holds no graph of the released code.
    """
    weights = convert_released_graph(_read(source))
    landmarks = weights[f"{_CLASS}.lins.0.weight"].shape[1] // 2
    scheme = LandmarkScheme("released", tuple(f"landmark_{i}" for i in range(landmarks)))
    config = update(PRESETS["official"].refiner, _sizes(weights))
    refiner = config.build(scheme, weights[f"{_VISUAL}.lins.0.weight"].shape[1], input_size)
    assert isinstance(refiner, LandmarkRefiner)
    check_weights(_name(source), refiner.state_dict(), weights)
    refiner.load_state_dict(weights)
    return refiner.eval()


def load_released_checkpoint(
    source: str | Path | Mapping[str, Tensor], scheme: str | None = None, input_size: Size = (256, 256)
) -> LandmarkDetector:
    """Load a whole released model (HRNet-W18 and graph) as a detector of the preset ``"official"``, in eval mode.

    Save it with ``save_pretrained``.

    Args:
        source: a file of :func:`torch.save`, or a state dict, with ``hm_model.*`` and ``gcn_model.*``.
        scheme: name of the landmark scheme; None takes the only built-in one with as many landmarks.
        input_size: (H, W) of the network's input.

    Raises:
        InputFileError: if the file cannot be read, or its weights do not fit.
        InputError: if it does not hold both parts, or the scheme has another number of landmarks.
    """
    state = _without(_read(source), "module.")
    backbone = {key: value for key, value in state.items() if key.startswith(_BACKBONE)}
    if not backbone:
        raise InputError(
            f"Expected '{_BACKBONE}*' (the HRNet) next to the graph in {_name(source)} (got the graph alone). "
            "Use load_released_refiner for that."
        )
    graph = convert_released_graph(state)
    landmarks = graph[f"{_CLASS}.lins.0.weight"].shape[1] // 2
    fitting = [name for name in SCHEMES if SCHEMES[name].num_landmarks == landmarks]
    if scheme is None and len(fitting) != 1:
        raise InputError(f"Expected 'scheme' for {landmarks} landmarks (got None; built in: {', '.join(fitting)}).")
    changes = {
        "scheme": scheme or fitting[0],
        "backbone": "hrnet_w18",
        "input_size": input_size,
        "refiner": _sizes(graph),
        "protocol": "official",
    }
    detector = LandmarkDetector(update(PRESETS["official"], changes))
    weights = {f"refiner.{key}": value for key, value in graph.items()}
    weights |= {f"backbone.{key}": value for key, value in convert_hrnet_state_dict(backbone).items()}
    check_weights(_name(source), detector.state_dict(), weights)
    detector.load_state_dict(weights)
    return detector.eval()


def _sizes(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Widths of a converted graph, as changes of the preset's refiner."""

    def widths(mlp: str) -> list[int]:
        return [
            weights[f"{mlp}.lins.{i}.weight"].shape[0] for i in range(_count(weights, rf"{mlp}\.lins\.(\d+)\.weight"))
        ]

    layers = range(_count(weights, r"lgcn\.convs\.(\d+)\.lin_self\.weight"))
    own = [tuple(weights[f"lgcn.convs.{i}.lin_self.weight"].shape) for i in layers]
    received = [weights[f"lgcn.convs.{i}.lin_neighbor.weight"].shape[1] for i in layers]
    classes = widths(_CLASS)
    options = {
        "class_hidden_channels": classes[:-1],
        "class_channels": classes[-1],
        "edge_hidden_channels": widths(_EDGE)[:-1],
    }
    return {
        "visual_channels": widths(_VISUAL),
        "hidden_channels": [out for out, _ in own[:-1]],
        "shape_features": [inputs > width for inputs, (_, width) in zip(received, own, strict=True)],
        "connectivity": {"learnable": options},
    }


def _rename(key: str, last: Mapping[str, int]) -> str:
    for theirs, ours in _MLPS.items():
        hidden = re.fullmatch(rf"{theirs}\.hidden_layers\.(\d+)\.(linear|bn)\.(\w+)", key)
        if hidden:
            place, kind, name = hidden.groups()
            return f"{ours}.lins.{place}.{name}" if kind == "linear" else f"{ours}.norms.{place}.module.{name}"
        out = re.fullmatch(rf"{theirs}\.out\.linear\.(\w+)", key)
        if out:
            return f"{ours}.lins.{last[theirs]}.{out[1]}"
    edge = re.fullmatch(r"edges\.((?:linear|out)\.(?:linear|bn))\.(\w+)", key)
    if edge:
        return f"{_EDGE}.{_EDGE_PARTS[edge[1]]}.{edge[2]}"
    layer = re.fullmatch(r"gcn_layers\.(\d+)\.w([12])", key)
    if layer:
        return f"lgcn.convs.{layer[1]}.{'lin_neighbor' if layer[2] == '1' else 'lin_self'}.weight"
    raise InputError(
        f"Expected entries of the released code's graph (got '{key}'). Known are class_embedding, edges, "
        "visual_feature_embedding and gcn_layers with w1 and w2."
    )


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    return sum(re.fullmatch(pattern, key) is not None for key in state)


def _without(state: Mapping[str, Tensor], prefix: str) -> Mapping[str, Tensor]:
    if state and all(key.startswith(prefix) for key in state):
        return {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _read(source: str | Path | Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    return source if isinstance(source, Mapping) else read_weights(source)


def _name(source: str | Path | Mapping[str, Tensor]) -> str:
    return "'source'" if isinstance(source, Mapping) else str(source)
