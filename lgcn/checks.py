"""Errors that say which argument or file is wrong, what was expected, what came, and what to do."""

import math
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from functools import lru_cache
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from lgcn.files import printable


class InputError(ValueError):
    """Something given by the caller cannot be used; the message names it and the remedy.

    The command line prints the message and exits with status 2. Messages quote files and their names, which may hold
    anything: what cannot be printed, such as line breaks and escape sequences of terminals, is shown escaped.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class InputFileError(InputError, OSError):
    """A file or folder given by the caller is missing or cannot be read."""


def check_choice(name: str, value: str, choices: Iterable[str]) -> str:
    """Returns ``value`` if it is one of ``choices``, else raises :class:`InputError` listing them."""
    known = list(choices)
    if value in known:
        return value
    near = get_close_matches(str(value), known, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise InputError(f"Expected '{name}' to be one of {', '.join(known)} (got '{value}').{hint}")


def check_device(device: str | torch.device) -> torch.device:
    """Returns the device if torch can use it here, else raises :class:`InputError`."""
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"Expected 'device' to be one that torch can use here (got '{device}': {reason})") from error


def check_at_least(name: str, value: int, least: int) -> int:
    """Returns ``value`` unless it is below ``least``, else raises :class:`InputError`."""
    if value < least:
        raise InputError(f"Expected '{name}' to be {least} or more (got {value}).")
    return value


def check_options(name: str, options: Iterable[str], build: Callable[..., Any], given: Iterable[str] = ()) -> None:
    """Checks that ``build`` takes each of ``options`` by name, before it is called with them.

    A ``build`` with ``**options`` of its own is left to check them itself.

    Args:
        name: of one option, for the message.
        options: names of keyword arguments.
        build: a function or class.
        given: arguments of ``build`` that are not among the choices, since the caller passes them.

    Raises:
        InputError: listing the choices.
    """
    parameters = signature(build).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        for option in options:
            check_choice(name, option, [known for known in parameters if known not in set(given)])


@lru_cache(maxsize=4096)
def _fits(shape: str, actual: torch.Size, **sizes: int) -> bool:
    """What :func:`check_shape` asks, remembered: networks ask it ten times for each image."""
    letters = shape.split()
    if letters[0] == "...":
        letters = letters[1:]
        actual = actual[max(0, len(actual) - len(letters)) :]
    bound = {**{each: int(each) for each in letters if each.isdigit()}, **sizes}
    return len(actual) == len(letters) and all(
        bound.setdefault(letter, size) == size for letter, size in zip(letters, actual, strict=True)
    )


def check_tensor(name: str, value: object) -> None:
    """Checks that ``value`` is a tensor.

    Raises:
        InputError: with its type, and how to make a tensor of it.
    """
    if not isinstance(value, Tensor):
        remedy = {"ndarray": " Use torch.from_numpy.", "list": " Use torch.tensor."}
        kind = type(value).__name__
        raise InputError(f"Expected '{name}' to be a tensor (got {kind}).{remedy.get(kind, '')}")


def check_shape(name: str, tensor: Tensor, shape: str, **sizes: int) -> None:
    """Checks ``tensor`` against axis letters such as ``"B K 2"``.

    A number is that size, a letter given in ``sizes`` is that size, any other letter is free
    but equal wherever it returns, and a leading ``...`` stands for any number of axes. Does
    nothing while compiling or exporting, where shapes are the compiler's business.

    Raises:
        InputError: with the expected and the actual shape, or if ``tensor`` is no tensor.
    """
    if torch.compiler.is_compiling():
        return
    check_tensor(name, tensor)
    try:
        fits = _fits(shape, tensor.shape, **sizes)
    except TypeError:  # symbolic sizes, as FX traces them, cannot be remembered
        fits = _fits.__wrapped__(shape, tensor.shape, **sizes)
    if not fits:
        known = ", ".join(f"{letter}={size}" for letter, size in sizes.items())
        raise InputError(
            f"Expected '{name}' to have shape [{', '.join(shape.split())}]"
            f"{f' with {known}' if known else ''} (got {list(tensor.shape)})."
        )


def is_transformed() -> bool:
    """Whether a transform of ``torch.func`` or forward-mode differentiation is at work.

    They want plain operations of torch's, and no values read.
    """
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def is_plain_inference(tensor: Tensor) -> bool:
    """Whether values on the CPU are all that is wanted: no gradients, no compiler, no transform, no autocast."""
    return tensor.is_cpu and not (
        torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu") or is_transformed()
    )


def _has_values(tensor: Tensor) -> bool:
    """Whether values can be looked at, and without waiting for them."""
    return tensor.device.type == "cpu" and not is_transformed()


def check_finite(name: str, tensor: Tensor) -> None:
    """Checks that ``tensor`` holds neither NaN nor infinity.

    Looks only on the CPU: elsewhere the answer would have to be waited for. Does nothing while compiling, or where
    :func:`is_transformed`.

    Raises:
        InputError: with the first place and value that is not.
    """
    if torch.compiler.is_compiling() or not _has_values(tensor):
        return
    # One sum is several times quicker than asking each number; only what is not finite makes it so (or an overflow).
    if not math.isfinite(tensor.sum().item()):
        wrong = (~tensor.isfinite()).nonzero()
        if len(wrong):
            place = wrong[0].tolist()
            raise InputError(
                f"Expected '{name}' to be finite (got {float(tensor[tuple(place)])} at {place}). "
                "Mask or drop what is missing."
            )


def check_floating(name: str, tensor: Tensor) -> None:
    """Checks that ``tensor`` holds floating-point numbers.

    Raises:
        InputError: with the type that it holds.
    """
    if not tensor.dtype.is_floating_point and not torch.compiler.is_compiling():
        raise InputError(f"Expected '{name}' to hold floating-point numbers (got {tensor.dtype}). Use .float().")


def check_ids(name: str, ids: Tensor, count: int) -> None:
    """Checks that ``ids`` are integers in 0 ... count - 1, of a type that can be an index.

    Values are looked at on the CPU only, not where :func:`is_transformed`, and nothing is while compiling.

    Raises:
        InputError: with the type, or the value that is out of range.
    """
    if torch.compiler.is_compiling():
        return
    # Torch takes uint8 for a mask, and no other type for an index.
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
    """Checks an edge list [2, E] of int64 whose nodes are in 0 ... num_nodes - 1.

    Values are looked at on the CPU only, not where :func:`is_transformed`, and nothing is while compiling.

    Raises:
        InputError: with what is wrong.
    """
    if torch.compiler.is_compiling():
        return
    check_shape(name, edge_index, "2 E")
    if edge_index.dtype != torch.long:
        raise InputError(f"Expected '{name}' of torch.int64 (got {edge_index.dtype}). Use .long().")
    check_ids(name, edge_index, num_nodes)


def check_mask(name: str, mask: Tensor, shape: str, **sizes: int) -> None:
    """Checks a mask: booleans, of a shape as :func:`check_shape` has it.

    Raises:
        InputError: with the type or the shape that is not.
    """
    check_shape(name, mask, shape, **sizes)
    if mask.dtype != torch.bool and not torch.compiler.is_compiling():
        raise InputError(f"Expected '{name}' to hold booleans (got {mask.dtype}). Compare it: mask > 0.")


def check_images(images: Sequence[int], whose: str = "x", /, **tensors: tuple[Tensor | None, int]) -> None:
    """Checks that tensors are of the same images, or one for all of them.

    Args:
        images: sizes of the leading axes, [B] or none.
        whose: the argument that has them.
        **tensors: name -> tensor and its number of other axes; None is left out.

    Raises:
        InputError: with the first tensor whose leading axes are others.
    """
    if torch.compiler.is_compiling():
        return
    for name, (tensor, axes) in tensors.items():
        if tensor is not None and tensor.dim() > axes and list(tensor.shape[:-axes]) != list(images):
            count = f"for {images[0]} images" if images else "for one image"
            shared = ", or one for all" if images else ""
            raise InputError(f"Expected '{name}' {count}, as '{whose}' is{shared} (got {list(tensor.shape)}).")
