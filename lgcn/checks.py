"""Input checks, and errors that name the argument, the expected and actual value, and the remedy."""

import math
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from functools import lru_cache
from inspect import signature
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from lgcn.files import printable

_LARGEST = 2**53
"""Beyond it floating-point numbers do not tell integers apart; no size or option of this package is as large."""


class InputError(ValueError):
    """Input from the caller cannot be used; the message names it and the remedy.

    The command line prints the message and exits with status 2. Messages quote file names and file
    contents; unprintable characters, such as line breaks and terminal escape sequences, are escaped.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class InputFileError(InputError, OSError):
    """A file or folder given by the caller is missing or cannot be read."""


def check_choice(name: str, value: str, choices: Iterable[str], otherwise: str = "") -> str:
    """Return ``value`` if it is one of ``choices``, else raise :class:`InputError` listing them.

    The error names the choice that is spelled much like it, or ends with ``otherwise`` if there is none.
    """
    known = list(choices)
    if isinstance(value, str) and value in known:
        return value
    if not known:
        raise InputError(f"Expected no '{name}' (got '{value}', but there are none).")
    near = get_close_matches(str(value), known, n=1)
    hint = f"Did you mean '{near[0]}'?" if near else otherwise
    raise InputError(f"Expected '{name}' to be one of {', '.join(known)} (got '{value}'). {hint}".rstrip())


def check_device(device: str | torch.device) -> torch.device:
    """Return the device if torch can use it here, else raise :class:`InputError`."""
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"Expected 'device' to be one that torch can use here (got '{device}': {reason})") from error


def check_at_least(name: str, value: int, least: int) -> int:
    """Return ``value`` if it is an integer of ``least`` or more, else raise :class:`InputError`."""
    is_integer = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_integer or not least <= value <= _LARGEST:
        kind = "" if is_integer else "an integer, "
        raise InputError(f"Expected '{name}' to be {kind}{least} or more (got {shown(value)}).")
    return int(value)


def check_number(name: str, value: float, low: float = -math.inf, high: float = math.inf) -> float:
    """Return ``value`` if it is a finite number in ``low`` ... ``high``, else raise :class:`InputError`."""
    if isinstance(value, bool) or not isinstance(value, Real) or not low <= value <= high or abs(value) > _LARGEST:
        wanted = "a finite number" if low == -math.inf else f"in [{low:g}, {high:g}]"
        wanted = f"{low:g} or more" if low > -math.inf and high == math.inf else wanted
        raise InputError(f"Expected '{name}' to be {wanted} (got {shown(value)}).")
    return value


def check_positive(name: str, value: float) -> float:
    """Return ``value`` if it is a positive number, else raise :class:`InputError`."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value <= _LARGEST:
        raise InputError(f"Expected '{name}' to be a positive number (got {shown(value)}).")
    return value


def check_flag(name: str, value: bool) -> bool:
    """Return ``value`` if it is True or False, else raise :class:`InputError`."""
    if not isinstance(value, bool):
        raise InputError(f"Expected '{name}' to be True or False (got {shown(value)}).")
    return value


def check_size(name: str, size: Sequence[int]) -> tuple[int, int]:
    """Return a size (H, W) of integers of 1 or more as a tuple, else raise :class:`InputError`."""
    try:
        height, width = size
        return check_at_least(name, height, 1), check_at_least(name, width, 1)
    except (TypeError, ValueError):
        raise InputError(f"Expected '{name}' as (H, W), integers of 1 or more (got {shown(size)}).") from None


def check_pair(name: str, pair: Sequence[float]) -> tuple[float, float]:
    """Return two finite numbers as a tuple, else raise :class:`InputError`."""
    try:
        first, second = pair
        return check_number(name, first), check_number(name, second)
    except (TypeError, ValueError):
        raise InputError(f"Expected '{name}' as two numbers (got {shown(pair)}).") from None


def shown(value: object) -> str:
    """A value on one line of an error message, cut where it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_options(name: str, options: Iterable[str], build: Callable[..., Any], given: Iterable[str] = ()) -> None:
    """Check that ``build`` takes each of ``options`` by name, before it is called with them.

    A ``build`` that takes ``**options`` checks them itself.

    Args:
        name: what the message calls an option.
        options: names of keyword arguments.
        build: a function or class.
        given: arguments of ``build`` that the caller passes, which are not among the choices.

    Raises:
        InputError: listing the choices.
    """
    parameters = signature(build).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        for option in options:
            check_choice(name, option, [known for known in parameters if known not in set(given)])


@lru_cache(maxsize=4096)
def _fits(shape: str, actual: torch.Size, **sizes: int) -> bool:
    """Cached comparison of :func:`check_shape`, which networks call ten times for each image."""
    letters = shape.split()
    if letters[0] == "...":
        letters = letters[1:]
        actual = actual[max(0, len(actual) - len(letters)) :]
    bound = {**{each: int(each) for each in letters if each.isdigit()}, **sizes}
    return len(actual) == len(letters) and all(
        bound.setdefault(letter, size) == size for letter, size in zip(letters, actual, strict=True)
    )


def check_tensor(name: str, value: object) -> None:
    """Check that ``value`` is a dense tensor of real numbers.

    Raises:
        InputError: with its type and how to convert it.
    """
    if not isinstance(value, Tensor):
        remedy = {"ndarray": " Use torch.from_numpy.", "list": " Use torch.tensor."}
        kind = type(value).__name__
        raise InputError(f"Expected '{name}' to be a tensor (got {kind}).{remedy.get(kind, '')}")
    if value.layout is not torch.strided:
        raise InputError(f"Expected '{name}' to be a dense tensor (got {value.layout}). Use .to_dense().")
    if value.is_complex():
        raise InputError(f"Expected '{name}' to hold real numbers (got {value.dtype}).")


def check_shape(name: str, tensor: Tensor, shape: str, **sizes: int) -> None:
    """Check ``tensor`` against axis letters such as ``"B K 2"``.

    A number is that size, a letter given in ``sizes`` is that size, any other letter is free
    but must have one size wherever it occurs, and a leading ``...`` stands for any number of axes. Does
    nothing while compiling or exporting, where the compiler handles shapes.

    Raises:
        InputError: with the expected and the actual shape, or if ``tensor`` is no tensor.
    """
    if torch.compiler.is_compiling():
        return
    check_tensor(name, tensor)
    try:
        fits = _fits(shape, tensor.shape, **sizes)
    except TypeError:  # symbolic sizes, as in FX tracing, cannot be cached
        fits = _fits.__wrapped__(shape, tensor.shape, **sizes)
    if not fits:
        known = ", ".join(f"{letter}={size}" for letter, size in sizes.items())
        raise InputError(
            f"Expected '{name}' to have shape [{', '.join(shape.split())}]"
            f"{f' with {known}' if known else ''} (got {list(tensor.shape)})."
        )


def is_transformed() -> bool:
    """Whether a ``torch.func`` transform or forward-mode differentiation is active.

    These support plain torch operations only, and no reading of values.
    """
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def _has_values(tensor: Tensor) -> bool:
    """Whether values can be read without synchronisation."""
    # Tracers pass subclasses that hold none.
    return tensor.device.type == "cpu" and type(tensor) in (Tensor, torch.nn.Parameter) and not is_transformed()


def check_finite(name: str, tensor: Tensor) -> None:
    """Check that ``tensor`` holds neither NaN nor infinity.

    Checks only on the CPU: elsewhere it would force a synchronisation. Does nothing while compiling, or where
    :func:`is_transformed`.

    Raises:
        InputError: with the first value that is not finite and its index.
    """
    # One sum is several times faster than a test of each number; it is finite unless a value is not (or it overflows).
    if torch.compiler.is_compiling() or not _has_values(tensor) or math.isfinite(tensor.sum().item()):
        return
    wrong = (~tensor.isfinite()).nonzero()
    if len(wrong):
        place = wrong[0].tolist()
        raise InputError(
            f"Expected '{name}' to be finite (got {float(tensor[tuple(place)])} at {place}). "
            "Mask or drop what is missing."
        )


def check_floating(name: str, tensor: Tensor) -> None:
    """Check that ``tensor`` holds floating-point numbers.

    Raises:
        InputError: with the actual type.
    """
    if torch.compiler.is_compiling():
        return
    check_tensor(name, tensor)
    if not tensor.dtype.is_floating_point:
        raise InputError(f"Expected '{name}' to hold floating-point numbers (got {tensor.dtype}). Use .float().")


def check_ids(name: str, ids: Tensor, count: int) -> None:
    """Check that ``ids`` are integers in 0 ... count - 1, of a type that can be an index.

    Values are checked on the CPU only and not where :func:`is_transformed`; nothing is checked while compiling.

    Raises:
        InputError: with the type, or the value that is out of range.
    """
    if torch.compiler.is_compiling():
        return
    check_tensor(name, ids)
    # Torch interprets uint8 as a mask and accepts no other types as an index.
    if ids.dtype not in (torch.int64, torch.int32):
        raise InputError(
            f"Expected '{name}' to hold integers (got {ids.dtype}), torch.int64 or torch.int32. Use .long()."
        )
    if not _has_values(ids) or not ids.numel():
        return
    least, most = (int(each) for each in torch.aminmax(ids))
    if least < 0 or most >= count:
        raise InputError(f"Expected '{name}' in 0 ... {count - 1} (got {least if least < 0 else most}).")


def check_edges(name: str, edge_index: Tensor, num_nodes: int) -> None:
    """Check an edge list [2, E] of int64 whose nodes are in 0 ... num_nodes - 1.

    Values are checked on the CPU only and not where :func:`is_transformed`; nothing is checked while compiling.

    Raises:
        InputError: with the fault.
    """
    if torch.compiler.is_compiling():
        return
    check_shape(name, edge_index, "2 E")
    if edge_index.dtype != torch.long:
        raise InputError(f"Expected '{name}' of torch.int64 (got {edge_index.dtype}). Use .long().")
    check_ids(name, edge_index, num_nodes)


def check_mask(name: str, mask: Tensor, shape: str, **sizes: int) -> None:
    """Check that a mask holds booleans and has a shape, written as for :func:`check_shape`.

    Raises:
        InputError: with the wrong type or shape.
    """
    check_shape(name, mask, shape, **sizes)
    if mask.dtype != torch.bool and not torch.compiler.is_compiling():
        raise InputError(f"Expected '{name}' to hold booleans (got {mask.dtype}). Compare it: mask > 0.")


def check_images(images: Sequence[int], whose: str = "x", /, **tensors: tuple[Tensor | None, int]) -> None:
    """Check that tensors have the same leading axes, or none.

    Args:
        images: sizes of the leading axes, [B] or none.
        whose: the argument that has these sizes.
        **tensors: name -> tensor and its number of further axes; None is skipped.

    Raises:
        InputError: with the first tensor whose leading axes differ.
    """
    if torch.compiler.is_compiling():
        return
    for name, (tensor, axes) in tensors.items():
        if tensor is not None and tensor.dim() > axes and list(tensor.shape[:-axes]) != list(images):
            count = f"for {images[0]} images" if images else "for one image"
            shared = ", or one for all" if images else ""
            raise InputError(f"Expected '{name}' {count}, as '{whose}' is{shared} (got {list(tensor.shape)}).")


def check_devices(device: torch.device, whose: str, /, **tensors: Tensor | None) -> None:
    """Check that tensors are on one device.

    Args:
        device: the device.
        whose: what is there, for the message: ``"the parameters"``, or an argument in quotes.
        **tensors: name -> tensor; None is left out.

    Raises:
        InputError: with the first tensor that is elsewhere.
    """
    if torch.compiler.is_compiling():
        return
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        check_tensor(name, tensor)
        if tensor.device != device:
            verb = "are" if whose.endswith("s") else "is"
            raise InputError(
                f"Expected '{name}' on '{device}', where {whose} {verb} (got '{tensor.device}'). Use .to('{device}')."
            )


def check_values(like: Tensor | None = None, /, **tensors: Tensor | None) -> None:
    """Check that tensors hold values, which those on the meta device do not.

    Args:
        like: a tensor that is on the meta device itself if shapes are all that is wanted.
        **tensors: name -> tensor; None is left out.

    Raises:
        InputError: with the first tensor that holds none.
    """
    needed = like is None or not like.is_meta
    for name, tensor in tensors.items():
        if tensor is not None:
            check_tensor(name, tensor)
            if needed and tensor.is_meta:
                raise InputError(f"Expected '{name}' to hold values (got a tensor on the device 'meta').")
