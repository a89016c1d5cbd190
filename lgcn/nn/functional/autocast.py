"""Where single precision is needed, whatever autocast says."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def autocast_disabled(device_type: str) -> AbstractContextManager[Any]:
    """Switches autocast off: bfloat16 knows a position in the input to a pixel of 256 only."""
    # A meta device has none, and must not be asked.
    rounded = device_type != "meta" and torch.is_autocast_enabled(device_type)
    return torch.autocast(device_type, enabled=False) if rounded else nullcontext()
