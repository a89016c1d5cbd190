"""Saving of trained models: the counterpart of :mod:`lgcn.models.loading`."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from lgcn.files import write_from_memory, write_text
from lgcn.models.loading import CONFIG_NAME, WEIGHTS_NAME


def save_model(folder: Path, config: dict[str, Any], weights: dict[str, Tensor]) -> None:
    """Write ``config.json`` and ``model.safetensors``, each whole or not at all."""
    write_text(folder / CONFIG_NAME, json.dumps(config, indent=2) + "\n")
    with write_from_memory(folder / WEIGHTS_NAME) as file:
        # safetensors' save_file makes files that only their owner may read, whatever the umask allows.
        file.write(save({name: value.contiguous() for name, value in weights.items()}))
