"""One-line messages for argument errors of ``lgcn fit``."""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from lgcn.checks import InputError

_KEY = re.compile(r'^Parser key "([^"]+)":')
_EXPECTED = re.compile(r"Expected an? (.+?)\.?(?: Got value: .*)?$", re.MULTILINE)
_GIVEN = re.compile(r".*(?:Got|Given) value: (.*)\Z", re.DOTALL)
_UNLOADED = re.compile(r"Unable to load config '(.*?)'")
_NO_SECTION = re.compile(r'^Key "([^"]+)\.\w+" not found in namespace')
_UNKNOWN = re.compile(r"unrecognized arguments?: (.*)", re.IGNORECASE)
_UNKNOWN_KEYS = (
    re.compile(r"Group '(?P<group>[^']+)' does not accept option '(?P<key>[^']+)'"),
    re.compile(r"Option '(?P<key>[^']+)' is not accepted"),
    re.compile(r"unrecognized arguments?: --(?P<key>[\w.]+)", re.IGNORECASE),
)
_PROBLEM = re.compile(r"Problem with given class_path .*?(?=\n\s*- |\Z)", re.DOTALL)
_CLASS = re.compile(r"<class '(?:\w+\.)*(\w+)'>")
_LITERAL = re.compile(r"(?:typing\.)?Literal\[(.*)\]")
_WORDS = {
    "NoneType": "null",
    "bool": "true or false",
    "float": "a number",
    "int": "a whole number",
    "str": "a text",
    "tuple": "a list",
    "Iterable": "a list",
}

_SEE_HELP = "See 'lgcn fit --help' for what a configuration may hold."


def explain(message: str, config: str | None = None, names: Iterable[str] = ()) -> str:
    """An argument error of jsonargparse as one line: the key, what was expected, what was given, and the remedy.

    Args:
        message: message of the error; it has several lines if a value fits none of several types.
        config: path of the configuration file, for syntax errors.
        names: dotted names of all options, which are listed if a key is unknown.
    """
    if "data.root" in message and "required" in message:
        return "Expected the folder of the dataset (got none). Give it with --data.root DIR."
    if message.startswith("Problems parsing config") and config is not None:
        reason = _in_one_line(message.partition(":")[2].replace('in "<unicode string>", ', "at "))
        return f"Expected YAML in '{config}' ({reason})."
    names = list(names)
    for pattern in _UNKNOWN_KEYS:
        key = pattern.search(message)
        line = None if key is None else _unknown_key(".".join(filter(None, key.groupdict().values())), names)
        if line is not None:
            return line
    section = _NO_SECTION.match(message)
    if section:
        return f"Expected '{section[1]}' to hold options{_some_of(section[1], names)} (got a plain value). {_SEE_HELP}"
    unknown = _UNKNOWN.match(message)
    if unknown:
        return f"Expected options that 'lgcn fit' has (got {_in_one_line(unknown[1])}). {_SEE_HELP}"
    key, problem, unloaded = _KEY.match(message), _PROBLEM.search(message), _UNLOADED.search(message)
    if key and unloaded:
        members = _some_of(key[1], names)
        return (
            f"Expected '{key[1]}' to be a mapping, or a file that holds one{members} (got {unloaded[1]}). {_SEE_HELP}"
        )
    if key and problem:
        return f"Cannot use '{key[1]}': {_in_one_line(problem[0]).rstrip('.')}. {_SEE_HELP}"
    given = _GIVEN.search(message)
    expected = list(dict.fromkeys(_readable(each) for each in _EXPECTED.findall(message)))
    if key and given and expected:
        return f"Expected '{key[1]}' to be {' or '.join(expected)} (got {_in_one_line(given[1])}). {_SEE_HELP}"
    what = _KEY.sub(r"Cannot use '\1':", message)
    return f"{_in_one_line(what).rstrip('.')}. {_SEE_HELP}"


def check_sections(config: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raise :class:`InputError` if a section of a parsed configuration holds a value instead of options.

    Args:
        config: the configuration, indexed by dotted names.
        names: dotted names of all options; everything before a dot is a section.
    """
    sections = dict.fromkeys(name.rsplit(".", depth)[0] for name in names for depth in range(name.count("."), 0, -1))
    for section in sections:
        value = config.get(section)
        if not hasattr(value, "keys"):
            raise InputError(
                f"Expected '{section}' to hold options{_some_of(section, names)} (got {value}). {_SEE_HELP}"
            )


def _members(section: str, names: Iterable[str]) -> list[str]:
    """The options and sections directly below a section; "" is the top level."""
    start = f"{section}." if section else ""
    return list(dict.fromkeys(name.removeprefix(start).split(".")[0] for name in names if name.startswith(start)))


def _some_of(section: str, names: Iterable[str]) -> str:
    """Return the members of a section as part of a sentence; empty if there are none."""
    members = _members(section, names)
    return f", some of {', '.join(members)}" if members else ""


def _unknown_key(key: str, names: list[str]) -> str | None:
    """The error for an unknown dotted key: its first unknown part, and the choices there."""
    parts = key.split(".")
    for depth, part in enumerate(parts):
        section = ".".join(parts[:depth])
        choices = _members(section, names)
        if part not in choices:
            if not choices:
                return None
            near = get_close_matches(part, choices, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            place = f"an option of '{section}'" if section else "an option of 'lgcn fit'"
            return f"Expected {place}, one of {', '.join(choices)} (got '{part}').{hint}"
    return None


def _readable(kind: str) -> str:
    """``<class 'int'>`` as "a whole number", ``typing.Literal['a', 'b']`` as "one of 'a', 'b'"."""
    literal = _LITERAL.fullmatch(kind)
    if literal:
        return f"one of {literal[1]}"
    kind = _CLASS.sub(r"\1", kind)
    return _WORDS.get(kind, f"a {kind}")


def _in_one_line(text: str) -> str:
    return " ".join(text.split())
