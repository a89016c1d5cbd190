"""Loading of trained models: shipped with the package, from a folder, a training checkpoint or the hub."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lgcn.checks import InputError, InputFileError
from lgcn.models.config import DetectorConfig
from lgcn.models.saved_config import read_config

Config = TypeVar("Config")

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
# A hub id may contain a dot ("owner/faces-v1.0").
_FILE_SUFFIXES = (".ckpt", ".json", ".pt", ".pth", ".safetensors")
_HUB_TIMEOUT = 3.0  # seconds
_SHIPPED = Path(__file__).parent / "pretrained"
SHIPPED_MODELS = tuple(sorted(path.parent.name for path in _SHIPPED.glob(f"*/{CONFIG_NAME}")))
"""Names of the models inside the package."""


def load_pretrained(source: str | Path, **download: Any) -> tuple[DetectorConfig, dict[str, Tensor]]:
    """Load the configuration and weights of a trained detector.

    Args:
        source: a name of :data:`SHIPPED_MODELS`, a folder of ``save_pretrained``, a ``.ckpt`` file of
            ``lgcn fit``, or the id ``owner/name`` of a model on the hub.
        **download: arguments of :func:`huggingface_hub.hf_hub_download`.

    Raises:
        InputFileError: if it is none of these, or files cannot be read.
    """
    if str(source) in SHIPPED_MODELS:
        return _read_folder(_SHIPPED / str(source), read_config)
    if Path(source).is_file():
        return _read_checkpoint(Path(source))
    return load_saved(
        source,
        read_config,
        f"Expected 'model' to be one of {', '.join(SHIPPED_MODELS) or '(no models are shipped)'}, a folder with "
        f"{CONFIG_NAME} and {WEIGHTS_NAME}, a .ckpt file of 'lgcn fit' or a hub id 'owner/name' (got '{source}').",
        **download,
    )


def load_saved(
    source: str | Path, read: Callable[[Any], Config], otherwise: str, **download: Any
) -> tuple[Config, dict[str, Tensor]]:
    """Load the configuration and weights of any saved model.

    Args:
        source: a folder with both files, or the id ``owner/name`` of a model on the hub.
        read: checks what ``config.json`` holds and makes a configuration of it; raises :class:`InputError`.
        otherwise: the message if ``source`` can be neither.
        **download: arguments of :func:`huggingface_hub.hf_hub_download`.

    Raises:
        InputFileError: if it is none of these, or files cannot be read.
    """
    path = Path(source)
    if path.is_dir():
        return _read_folder(path, read)
    is_file_name = path.suffix in _FILE_SUFFIXES or path.parent.is_dir()
    if str(source).count("/") == 1 and not is_file_name:
        return _download(str(source), read, **download)
    raise InputFileError(otherwise)


def shipped_model(scheme: str) -> str:
    """Return the name of the shipped model for a landmark scheme.

    Raises:
        InputError: if there is none, listing the shipped models.
    """
    schemes = {
        name: json.loads((_SHIPPED / name / CONFIG_NAME).read_text(encoding="utf-8"))["scheme"]
        for name in SHIPPED_MODELS
    }
    for name, own in schemes.items():
        if own == scheme:
            return name
    shipped = ", ".join(f"{name} ({own})" for name, own in schemes.items()) or "none"
    raise InputError(
        f"Expected a model of the scheme '{scheme}' (none is shipped; shipped are: {shipped}). Give your own model."
    )


def check_weights(source: str | Path, expected: dict[str, Tensor], weights: dict[str, Tensor]) -> None:
    """Check that ``weights`` fit the state ``expected`` by a model.

    Raises:
        InputFileError: with the number of entries that do not, and one example of each kind.
    """
    wrong = {
        "missing": [key for key in expected if key not in weights],
        "unknown": [key for key in weights if key not in expected],
        "of another shape": [key for key in expected if key in weights and weights[key].shape != expected[key].shape],
    }
    found = [f"{len(keys)} {how}, such as '{keys[0]}'" for how, keys in wrong.items() if keys]
    if found:
        raise InputFileError(
            f"Expected weights in '{source}' that fit its configuration ({'; '.join(found)}). "
            "Custom backbones, connectivities and refiners must be those that the weights were saved with."
        )


def _read_folder(folder: Path, read: Callable[[Any], Config]) -> tuple[Config, dict[str, Tensor]]:
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        if not (folder / name).is_file():
            raise InputFileError(f"Expected a model folder with {CONFIG_NAME} and {WEIGHTS_NAME} (no {folder / name}).")
    return _read_files(folder / CONFIG_NAME, folder / WEIGHTS_NAME, read)


def _read_files(config: Path, weights: Path, read: Callable[[Any], Config]) -> tuple[Config, dict[str, Tensor]]:
    try:
        # json.loads raises a plain ValueError for an integer of thousands of digits.
        saved, state = json.loads(config.read_text(encoding="utf-8")), load_file(weights)
    except (ValueError, RecursionError, SafetensorError, AttributeError) as error:
        raise InputFileError(f"Expected a saved model in {config.parent} (it cannot be read: {error}).") from error
    return _config(saved, config, read), state


def _config(saved: Any, source: Path, read: Callable[[Any], Config]) -> Config:
    try:
        return read(saved)
    except InputError as error:
        raise InputFileError(f"{str(error).rstrip('.')}, in {source}.") from error


def _read_checkpoint(path: Path) -> tuple[DetectorConfig, dict[str, Tensor]]:
    try:
        # weights_only: unpickle tensors and plain types, never code.
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # PyTorch's own message has many lines and recommends to unpickle code.
        raise InputFileError(
            f"Expected {path} to be a checkpoint of 'lgcn fit' (it cannot be read, or holds more than tensors and "
            "plain values)."
        ) from error
    for key in ("detector_config", "state_dict"):
        if not isinstance(checkpoint, dict) or key not in checkpoint:
            raise InputFileError(f"Expected {path} to be a checkpoint of 'lgcn fit' (it has no '{key}').")
    prefix = "detector."
    state = checkpoint["state_dict"]
    weights = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    return _config(checkpoint["detector_config"], path, read_config), weights


def _download(repo_id: str, read: Callable[[Any], Config], **download: Any) -> tuple[Config, dict[str, Tensor]]:
    unreachable = None if download.get("local_files_only") else _reason_unreachable(repo_id, download)
    if unreachable is not None:
        download["local_files_only"] = True
    try:
        config, weights = (Path(hf_hub_download(repo_id, name, **download)) for name in (CONFIG_NAME, WEIGHTS_NAME))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = " ".join(str(unreachable or error).split())
        raise InputFileError(
            f"Expected model '{repo_id}' on the hub, in its cache or as a folder (it could not be fetched: {reason}). "
            f"Models that need no network: {', '.join(SHIPPED_MODELS) or 'none'}."
        ) from error
    return _read_files(config, weights, read)


def _reason_unreachable(repo_id: str, download: dict[str, Any]) -> Exception | None:
    """The error of one short request, if there is one; ``hf_hub_download`` alone tries for half a minute."""
    try:
        url = hf_hub_url(repo_id, CONFIG_NAME, revision=download.get("revision"), endpoint=download.get("endpoint"))
        get_hf_file_metadata(url, token=download.get("token"), timeout=_HUB_TIMEOUT)
    # Which errors a failed connection raises depends on the HTTP client that huggingface_hub uses.
    except Exception as error:
        return error
    return None
