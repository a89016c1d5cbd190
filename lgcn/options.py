"""Typed options: frozen dataclasses whose values are checked against their annotations.

Options come from Python, from YAML, from the command line and from the ``config.json`` of a downloaded
model. All four call the constructor of a dataclass, and its ``__post_init__`` calls :func:`check_fields`:

>>> @dataclass(frozen=True)
... class BlurConfig:
...     sigma: Annotated[float, Bounds(0.1, 10)] = 1.0
...     def __post_init__(self) -> None:
...         check_fields(self)
>>> update(BlurConfig(), {"sigma": 2})
BlurConfig(sigma=2.0)
"""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NamedTuple,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from lgcn.checks import InputError, check_choice

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    T = TypeVar("T", bound=DataclassInstance)
else:
    T = TypeVar("T")

_MAX_LENGTH = 100_000
_WORDS = {bool: "true or false", int: "an integer", float: "a number", str: "a string", NoneType: "null"}


class Bounds(NamedTuple):
    """Smallest and largest value of a number, or length of a list, both included: ``Annotated[int, Bounds(1, 8)]``."""

    low: float
    high: float

    def __repr__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


class _Mismatch(Exception):
    """A value that does not match its annotation."""


def check_fields(options: Any) -> None:
    """Check the values of a dataclass against its annotations; turn lists into tuples and integers into floats.

    Knows bool, int, float (finite), str, None, ``Literal``, unions, tuples, mappings, dataclasses, and
    ``Annotated[..., Bounds(low, high)]``.

    Args:
        options: an instance of a dataclass; call this function in its ``__post_init__``.

    Raises:
        InputError: naming the first field whose value is of a wrong type or out of bounds.
    """
    hints = _hints(options.__class__)
    for each in fields(options):
        value = getattr(options, each.name)
        object.__setattr__(options, each.name, _checked(each.name, value, hints[each.name]))


def update(options: T, changes: Mapping[str, Any], path: str = "") -> T:
    """Return a copy of nested dataclasses with some values changed.

    Args:
        options: an instance of a dataclass.
        changes: field -> new value; for a field that is a dataclass, an instance that replaces it, or a mapping of
            changes to it.
        path: of ``options`` inside larger ones, for error messages.

    Raises:
        InputError: for an unknown field (lists the choices), and as :func:`check_fields`.
    """
    if not isinstance(changes, Mapping):
        name = path.rstrip(".") or "options"
        raise InputError(f"Expected '{name}' to map names of options to values (got {_shown(changes)}).")
    hints = _hints(type(options))
    changed = {}
    for name, value in changes.items():
        check_choice(f"{path or 'option '}{'key' if path else 'name'}", name, [each.name for each in fields(options)])
        current = getattr(options, name)
        if is_dataclass(current) and not isinstance(current, type) and not is_dataclass(value):
            changed[name] = update(current, value, f"{path}{name}.")
        else:
            changed[name] = _checked(f"{path}{name}", value, hints[name])
    return replace(options, **changed)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _checked(name: str, value: Any, annotation: Any) -> Any:
    try:
        return _converted(value, annotation)
    except _Mismatch:
        raise InputError(f"Expected '{name}' to be {_described(annotation)} (got {_shown(value)}).") from None


def _converted(value: Any, annotation: Any) -> Any:
    """``value`` converted to ``annotation``; raises :class:`_Mismatch`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return value
    if origin is Annotated:
        converted = _converted(value, arguments[0])
        for bounds in arguments[1:]:
            size = len(converted) if isinstance(converted, tuple) else converted
            if isinstance(bounds, Bounds) and not bounds.low <= size <= bounds.high:
                raise _Mismatch
        return converted
    if origin in (Union, UnionType):
        for alternative in arguments:
            try:
                return _converted(value, alternative)
            except _Mismatch:
                continue
        raise _Mismatch
    if origin is Literal:
        if isinstance(value, str | int | NoneType) and value in arguments:
            return value
        raise _Mismatch
    if origin is tuple:
        return _tuple(value, arguments)
    if annotation is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53:
        return float(value)
    kind = origin or annotation
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise _Mismatch
    if kind is float and not math.isfinite(value):
        raise _Mismatch
    if kind is dict and not all(isinstance(key, str) for key in value):
        raise _Mismatch
    return value


def _tuple(value: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple) or len(value) > _MAX_LENGTH:
        raise _Mismatch
    if arguments[-1] is Ellipsis:
        return tuple(_converted(each, arguments[0]) for each in value)
    if len(value) != len(arguments):
        raise _Mismatch
    return tuple(_converted(each, kind) for each, kind in zip(value, arguments, strict=True))


def _described(annotation: Any) -> str:
    """An annotation in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        bounds = [bound for bound in arguments[1:] if isinstance(bound, Bounds)]
        of = "of length" if get_origin(arguments[0]) is tuple else "in"
        return " ".join([_described(arguments[0]), *(f"{of} {bound!r}" for bound in bounds)])
    if origin in (Union, UnionType):
        return " or ".join(map(_described, arguments))
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin is tuple:
        many = arguments[-1] is Ellipsis
        return f"a list of {_plural(arguments[0])}" if many else f"[{', '.join(map(_described, arguments))}]"
    kind = origin or annotation
    if kind is dict:
        return "a mapping"
    return _WORDS.get(kind, f"a {kind.__name__}")


def _plural(annotation: Any) -> str:
    if get_origin(annotation) is tuple:
        return "lists"
    one = _described(annotation).removeprefix("an ").removeprefix("a ")
    noun, space, rest = one.partition(" ")
    return one if one.startswith("true") else f"{noun}s{space}{rest}"


def _shown(value: Any) -> str:
    """A value in an error message, escaped and shortened."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
