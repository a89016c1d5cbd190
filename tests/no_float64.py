"""A tensor that stands in for an accelerator without float64, such as Apple's MPS."""

from typing import Any

import torch
from torch import Tensor

_TO_CPU = {Tensor.cpu, Tensor.tolist, Tensor.item, Tensor.numpy}


class NoFloat64(Tensor):
    """Raises if an operation on it gives float64; ``.cpu()`` gives an ordinary tensor, which may be converted."""

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_function__(function, types, args, kwargs or {})
        if function in _TO_CPU:
            return result.as_subclass(Tensor) if isinstance(result, Tensor) else result
        if isinstance(result, Tensor) and result.dtype == torch.float64:
            raise TypeError(f"Cannot convert to float64, which this device does not support ({function}).")
        return result
