"""Values that no argument of the package can use, put in the place of each argument in turn."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lgcn.checks import InputError

OTHERS: dict[str, Any] = {
    "None": None,
    "text": "abc",
    "negative": -1,
    "zero": 0,
    "three": 3,
    "fraction": 0.5,
    "NaN": float("nan"),
    "tuple": (1, 2),
    "list": [1.0, 2.0],
    "empty list": [],
    "dict": {},
    "array": np.ones((2, 3), np.float32),
    "object": object(),
    "class": int,
    "True": True,
    "huge": 10**30,
    "complex": 1j,
}


def instead_of(value: Any) -> Iterator[tuple[str, Any]]:
    """Names and values to put in the place of a good value."""
    yield from OTHERS.items()
    if not isinstance(value, Tensor):
        return
    yield from (("numpy", value.numpy()), ("nested list", value.tolist()), ("tuple of rows", tuple(value)))
    types = (torch.int64, torch.int32, torch.uint8, torch.bool, torch.half, torch.bfloat16, torch.double)
    yield from ((str(dtype), value.to(dtype)) for dtype in (*types, torch.complex64))
    yield from (("one axis less", value[0]), ("an axis before", value[None]), ("an axis after", value[..., None]))
    yield from (("scalar", torch.tensor(1.0)), ("nothing", torch.empty(0)), ("no rows", value[:0]))
    yield from (("no columns", value[..., :0]), ("a row less", value[:-1]), ("twice", torch.cat([value, value])))
    yield from (("meta", value.to("meta")), ("sparse", value.to_sparse()))


def raw_errors(function: Callable[..., Any], good: dict[str, Any]) -> list[str]:
    """What other errors than one line of :class:`InputError` come from each argument's bad values."""
    function(**copy.deepcopy(good))
    raw = []
    for name, value in good.items():
        for kind, bad in instead_of(value):
            try:
                function(**{**copy.deepcopy(good), name: copy.deepcopy(bad)})
            except InputError as error:
                if "\n" in str(error) or not str(error).startswith("Expected "):
                    raw.append(f"{name} = {kind}: {error}")
            except Exception as error:
                raw.append(f"{name} = {kind}: {error!r}"[:200])
    return raw
