"""Reading of weights from files, and conversion of HRNet checkpoints of other projects.

HRNets of different projects differ only in the names of their entries. These layouts are known, each plain, nested
under ``state_dict``, or with the prefix ``module.``:

- the public HRNet facial networks (HR18-WFLW, -300W, -COFW, -AFLW): branches and ``head.{0,1,3}``;
- mmpose 0.x and 1.x: ``backbone.``, and ``keypoint_head.final_layer.{0,1,3}`` or ``head.conv_layers.{0,1}``
  with ``head.final_layer``;
- the code released with the paper: the public names behind ``hm_model.``; its ``gcn_model.`` is left out;
- ImageNet networks of timm and of the public classification code: branches, and a classifier that is left out;
- :class:`lgcn.backbones.TimmBackbone` itself: ``net.`` and ``head.head.``.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lgcn.checks import InputError, InputFileError

_LAST_CONV = "head.head.3.weight"
# (their name, ours); the first match counts. The last pattern is for entries before the head.
_NAMES = [
    (r"(?:net|head\.head)\..*", r"\g<0>"),
    (r"(?:keypoint_)?head\.(?:final_layer\.)?([013])\.(\w+)", r"head.head.\1.\2"),
    (r"head\.conv_layers\.([01])\.(\w+)", r"head.head.\1.\2"),
    (r"(?:keypoint_)?head\.final_layer\.(weight|bias)", r"head.head.3.\1"),
    (r"(?:keypoint_)?head\..*", r"\g<0>"),
    (r"(?:backbone\.)?(.*)", r"net.\1"),
]
_CLASSIFIER = ("incre_modules.", "downsamp_modules.", "final_layer.", "classifier.")


def read_weights(path: str | Path, weights_only: bool = True) -> dict[str, Tensor]:
    """Read the state dict in a file, nested or not.

    Args:
        path: a ``.safetensors`` file, or one of :func:`torch.save`: a state dict, a mapping that holds one as
            ``state_dict``, or (``weights_only=False``) a whole module in either place.
        weights_only: read tensors and plain values only. A file that holds more, such as a pickled module, runs
            code as it is read: False allows that, which is safe only if you trust its source. The
            classes of its modules must then be importable.

    Raises:
        InputFileError: if there is no such file, or no state dict can be read from it.
    """
    path = Path(path)
    if not path.is_file():
        raise InputFileError(
            f"Expected 'weights' to be a file of weights, .safetensors or of torch.save (no file {path})."
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        held: Any = torch.load(path, map_location="cpu", weights_only=weights_only)
    except SafetensorError as error:
        raise InputFileError(f"Expected 'weights' to be a .safetensors file ({path} is not one: {error}).") from error
    except (ImportError, AttributeError) as error:
        raise InputFileError(
            f"Expected the classes of the modules pickled in {path} to be importable ({error}). Run this where the "
            "code that made the file can be imported."
        ) from error
    except Exception as error:
        remedy = (
            " If it holds a whole module and you trust its source, read it with "
            "lgcn.backbones.load_hrnet_checkpoint(path, weights_only=False), which runs code in it."
        )
        # PyTorch's own message has many lines.
        raise InputFileError(
            f"Expected 'weights' to be a file of tensors and plain values ({path} cannot be read, or holds more)."
            f"{remedy if weights_only else ''}"
        ) from error
    if isinstance(held, Mapping) and "state_dict" in held:
        held = held["state_dict"]
    if isinstance(held, nn.Module):
        held = held.state_dict()
    if not isinstance(held, Mapping) or not held or not all(isinstance(value, Tensor) for value in held.values()):
        raise InputFileError(f"Expected {path} to hold a state dict, plain or as 'state_dict' (got {_words(held)}).")
    return dict(held)


def convert_hrnet_state_dict(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename an HRNet's entries to those of :class:`lgcn.backbones.TimmBackbone` with its ``concat`` head.

    Whether entries are missing or of a wrong shape is checked when they are loaded.

    Args:
        state: in any of the layouts above; not changed.

    Returns:
        ``net.*`` and, where the state has a head, ``head.head.*``; unknown entries keep their names.

    Raises:
        InputError: if it is no HRNet, or its head is not HRNetV2's: a convolution, BatchNorm and a second
            convolution. mmpose's body networks have one convolution, its older ones deconvolutions.
    """
    # A wrapped part of a wrapped model has both prefixes.
    for prefix in ("module.", "hm_model.", "module."):
        state = _unwrap(state, prefix)
    converted = {_rename(name): value for name, value in state.items() if not name.startswith(_CLASSIFIER)}
    if not any(name.startswith("net.stage2.") for name in converted):
        raise InputError(f"Expected the state of an HRNet, with entries of its 'stage2' (got {_words(state)}).")
    in_head = [name for name in state if _rename(name).startswith(("head.", "keypoint_head."))]
    if in_head and not {"head.head.0.weight", _LAST_CONV} <= converted.keys():
        raise InputError(
            "Expected the head of the HRNet to be two convolutions with BatchNorm between them, as HRNetV2's is "
            f"(got {', '.join(in_head[:3])}). Leave its entries out to load the branches alone."
        )
    return converted


def load_hrnet_checkpoint(
    path: str | Path, num_landmarks: int | None = None, weights_only: bool = True
) -> dict[str, Tensor]:
    """Read an HRNet checkpoint of any of the layouts above, for ``TimmBackbone("hrnet_w18", K, weights=...)``.

    Args:
        path: see :func:`read_weights`.
        num_landmarks: K that the head must have. None: any.
        weights_only: False lets the file run code as it is read; see :func:`read_weights`.

    Returns:
        The state in the names of :class:`lgcn.backbones.TimmBackbone`.

    Raises:
        InputFileError: if the file cannot be read, holds no HRNet, or one of other landmarks.
    """
    state = read_weights(path, weights_only)
    try:
        state = convert_hrnet_state_dict(state)
    except InputError as error:
        raise InputFileError(f"{path}: {error}") from error
    if num_landmarks is not None:
        check_landmarks(str(path), state, num_landmarks)
    return state


def check_landmarks(source: str, state: Mapping[str, Tensor], num_landmarks: int) -> None:
    """Check the head in a converted state, if it has one, against the number of landmarks.

    Raises:
        InputFileError: saying both numbers.
    """
    if _LAST_CONV in state and state[_LAST_CONV].shape[0] != num_landmarks:
        raise InputFileError(
            f"Expected a network of {num_landmarks} landmarks in {source} (got {state[_LAST_CONV].shape[0]}). Choose "
            "the scheme that it was trained for, or leave out its 'head' entries to load the branches alone."
        )


def _unwrap(state: Mapping[str, Tensor], prefix: str) -> Mapping[str, Tensor]:
    if prefix == "hm_model.":
        state = {name: value for name, value in state.items() if not name.startswith("gcn_model.")}
    if all(name.startswith(prefix) for name in state):
        return {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _rename(name: str) -> str:
    for theirs, ours in _NAMES:
        match = re.fullmatch(theirs, name)
        if match:
            return match.expand(ours)
    raise AssertionError(name)


def _words(held: Any) -> str:
    if not isinstance(held, Mapping):
        return type(held).__name__
    names = [str(name) for name in held]
    return f"{len(names)} entries, such as {', '.join(names[:3])}" if names else "nothing"
