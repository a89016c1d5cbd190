"""A guard for computations that need more than half precision."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def autocast_disabled(device_type: str) -> AbstractContextManager[Any]:
    """Disable autocast for a block: bfloat16 resolves positions in an image of 256 pixels to one pixel only."""
    # The meta device has no autocast and raises an error when asked.
    enabled = device_type != "meta" and torch.is_autocast_enabled(device_type)
    return torch.autocast(device_type, enabled=False) if enabled else nullcontext()
