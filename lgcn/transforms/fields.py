"""Checks of what transforms read from a ``Data``, and of their probabilities."""

import torch
from torch_geometric.data import Data

from lgcn.checks import InputError, check_number, check_shape, check_values


def check_field(data: Data, name: str, shape: str, **sizes: int) -> None:
    """Check that an attribute of ``data`` is a tensor of that shape, see :func:`lgcn.checks.check_shape`.

    Raises:
        InputError: naming the attribute.
    """
    if not isinstance(data, Data):
        raise InputError(f"Expected 'data' to be a Data (got {type(data).__name__}).")
    value = data.get(name)
    if value is None:
        raise InputError(f"Expected 'data' with '{name}' [{', '.join(shape.split())}] (got none).")
    check_shape(name, value, shape, **sizes)
    check_values(**{name: value})


def check_image(data: Data, channels: str = "3") -> None:
    """Check that ``data`` has an ``image`` uint8 [1, 3, H, W] with pixels.

    Raises:
        InputError: with what it has instead.
    """
    check_field(data, "image", f"1 {channels} H W")
    if data.image.dtype != torch.uint8:
        raise InputError(f"Expected 'image' to be uint8 (got {data.image.dtype}). Scale to 0 ... 255 and convert it.")
    if not data.image.numel():
        raise InputError(f"Expected 'image' to have pixels (got {list(data.image.shape)}).")


def check_probability(name: str, value: float) -> float:
    """Return ``value`` if it is in [0, 1], else raise :class:`InputError`."""
    if not 0 <= check_number(name, value) <= 1:
        raise InputError(f"Expected '{name}' to be a probability in [0, 1] (got {value}).")
    return value
