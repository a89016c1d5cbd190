"""Checked options: pydantic dataclasses whose errors are one line, an :class:`lgcn.checks.InputError`.

Options come from Python, from YAML, from the command line and from the ``config.json`` of a downloaded model;
all are checked against the annotations:

>>> @input_errors
... @dataclass(frozen=True, config=STRICT_KEYS)
... class BlurConfig:
...     sigma: Annotated[float, Bounds(0.1, 10)] = 1.0
>>> update(BlurConfig(), {"sigma": 2})
BlurConfig(sigma=2.0)
"""

import re
import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from typing import Any, TypeVar

from annotated_types import Ge, GroupedMetadata, Le, Len
from pydantic import ConfigDict, Strict, TypeAdapter, ValidationError

from lgcn.checks import InputError, check_choice

T = TypeVar("T")

# Where pydantic's words are of Python, or say no more than that something is wrong: type of error -> words.
_WORDS = {
    "bool_parsing": "be true or false",
    "bool_type": "be true or false",
    "dataclass_type": "be a mapping of options",
    "dict_type": "be a mapping",
    "missing": "be given",
    "string_type": "be a string",
    "tuple_type": "be a list",
}
_MESSAGE = re.compile(r"^.* should (.*?)( after validation, .*)?$")

STRICT_KEYS = ConfigDict(extra="forbid", allow_inf_nan=False)
"""Configuration of pydantic: no unknown option, no NaN or infinity."""


@dataclass(frozen=True, repr=False)
class Bounds(GroupedMetadata):
    """Smallest and largest value of a number, both included: ``Annotated[int, Bounds(1, 8)]``.

    Neither text nor a boolean counts as a number, and a fraction is no integer. ``lgcn fit --help`` shows the bounds.
    """

    low: float
    high: float

    def __iter__(self) -> Iterator[Any]:
        yield from (Strict(), Ge(self.low), Le(self.high))

    def __repr__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


class Length(Len):
    """Smallest and largest length of a list, both included: ``Annotated[tuple[int, ...], Length(1, 8)]``."""

    def __repr__(self) -> str:
        return f"of length {self.min_length} to {self.max_length}"


def input_errors(config: type[T]) -> type[T]:
    """Let the constructor of a pydantic dataclass raise :class:`lgcn.checks.InputError`, as a decorator."""
    create = config.__init__

    @wraps(create)
    def init(self: T, *args: Any, **options: Any) -> None:
        try:
            create(self, *args, **options)
        except ValidationError as error:
            raise _input_error(error, config) from None

    config.__init__ = init  # type: ignore[method-assign, assignment]
    return config


def update(options: T, changes: Mapping[str, Any]) -> T:
    """Return a copy of nested dataclasses with some values changed.

    Args:
        options: an instance of a pydantic dataclass.
        changes: field -> new value; for a field that is a dataclass, an instance that replaces it, or a mapping of
            changes to it. Lists become tuples, and integers become floats, as the annotations say.

    Raises:
        InputError: for an unknown field (lists the choices), a value of a wrong type, or one out of bounds.
    """
    kind = type(options)
    try:
        return TypeAdapter(kind).validate_python(_merged(options, changes))
    except ValidationError as error:
        raise _input_error(error, kind) from None


def _merged(options: Any, changes: Any) -> Any:
    if not is_dataclass(options) or not isinstance(changes, Mapping):
        return changes
    current = {each.name: getattr(options, each.name) for each in fields(options)}
    return current | {name: _merged(current.get(name), value) for name, value in changes.items()}


def _input_error(error: ValidationError, config: Any) -> InputError:
    """Describe the first wrong option in one line; of a union, what each alternative expects."""
    found = [(_split(each["loc"], config), each) for each in error.errors(include_url=False)]
    (option, _), first = found[0]
    own = first.get("ctx", {}).get("error")
    if isinstance(own, InputError):  # of __post_init__
        return own
    if first["type"] in ("unexpected_keyword_argument", "invalid_key") and _names(option, config):
        name = ".".join((*option, "key")) if option else "option name"
        try:
            check_choice(name, str(first["loc"][-1]), _names(option, config))
        except InputError as unknown:
            return unknown
    # The error of an item of a list says more than that of an alternative that is no list.
    place = max((place for place, _ in found if place[0] == option), key=lambda place: len(place[1]))
    there = [each for at, each in found if at == place]
    expected = dict.fromkeys(_WORDS.get(each["type"]) or _MESSAGE.sub(r"\1", each["msg"]) for each in there)
    name = ".".join((*option, *place[1])) or "options"
    return InputError(f"Expected '{name}' to {' or '.join(expected)} (got {reprlib.repr(there[0]['input'])}).")


def _split(location: tuple[int | str, ...], config: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split a location into names of nested options and places in a list; drop pydantic's names of alternatives."""
    option: tuple[str, ...] = ()
    for part in location:
        if part not in _names(option, config):
            break
        option += (str(part),)
    return option, tuple(str(part) for part in location[len(option) :] if isinstance(part, int))


def _names(option: tuple[str, ...], config: Any) -> list[str]:
    """Return the fields of the dataclass that a nested option is of; none if it is a plain value."""
    for name in option:
        config = {each.name: each.type for each in fields(config)}[name]
        if not is_dataclass(config):
            return []
    return [each.name for each in fields(config)]
