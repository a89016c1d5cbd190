"""Explain an error of the parser of ``lgcn fit`` in one line."""

import re
from collections.abc import Iterable

from lgcn.checks import InputError, check_choice

_KEY = re.compile(r'^Parser key "([^"]+)":')
_EXPECTED = re.compile(r"Expected an? (.+?)\.?(?: Got value: .*)?$", re.MULTILINE)
_GIVEN = re.compile(r"(?:Got|Given) value: (.*)\Z", re.DOTALL)
_UNLOADED = re.compile(r"Unable to load config '(.*?)'")
_UNKNOWN = re.compile(r"unrecognized arguments?: (.*)", re.IGNORECASE)
_UNKNOWN_IN_GROUP = re.compile(r"Group '([^']+)' does not accept option '([^']+)'")
_UNKNOWN_KEY = re.compile(r"Option '([^']+)' is not accepted")
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


def explain(message: str, config: str | None = None, keys: Iterable[str] = ()) -> str:
    """An argument error of jsonargparse as one line that names the key, what was expected, what came and the remedy.

    Args:
        message: of the error; of several lines where a value fits none of several types.
        config: the configuration file, for errors of its syntax.
        keys: all keys that the parser knows, such as ``model.detector.scheme``, to list the choices for a wrong one.
    """
    if "data.root" in message and "required" in message:
        return "Expected the folder of the dataset (got none). Give it with --data.root DIR."
    if message.startswith("Problems parsing config") and config is not None:
        reason = _in_one_line(message.partition(":")[2].replace('in "<unicode string>", ', "at "))
        return f"Expected YAML in '{config}' ({reason})."
    wrong = _unknown_key(message)
    if wrong is not None and keys:
        return _list_choices(wrong, list(keys))
    unknown = _UNKNOWN.match(message)
    if unknown:
        return f"Expected options that 'lgcn fit' has (got {_in_one_line(unknown[1])}). {_SEE_HELP}"
    key, problem, unloaded = _KEY.match(message), _PROBLEM.search(message), _UNLOADED.search(message)
    if key and unloaded:
        return f"Expected '{key[1]}' to be a mapping, or a file that holds one (got {unloaded[1]}). {_SEE_HELP}"
    if key and problem:
        return f"Cannot use '{key[1]}': {_in_one_line(problem[0]).rstrip('.')}. {_SEE_HELP}"
    given = _GIVEN.search(message)
    expected = list(dict.fromkeys(_readable(each) for each in _EXPECTED.findall(message)))
    if key and given and expected:
        return f"Expected '{key[1]}' to be {' or '.join(expected)} (got {_in_one_line(given[1])}). {_SEE_HELP}"
    what = _KEY.sub(r"Cannot use '\1':", message)
    return f"{_in_one_line(what).rstrip('.')}. {_SEE_HELP}"


def _unknown_key(message: str) -> str | None:
    """The key that the parser does not know, if that is the error."""
    in_group, alone = _UNKNOWN_IN_GROUP.match(message), _UNKNOWN_KEY.match(message)
    if in_group:
        return f"{in_group[1]}.{in_group[2]}"
    if alone:
        return alone[1]
    unknown = _UNKNOWN.match(message)
    word = unknown[1].split()[0] if unknown and unknown[1].split() else ""
    return word.removeprefix("--").partition("=")[0] if word.startswith("--") and "." in word else None


def _list_choices(wrong: str, keys: list[str]) -> str:
    """Name the first part of a key that is wrong, and what can stand in its place."""
    known = ""
    for part in wrong.split("."):
        inside = dict.fromkeys(key.removeprefix(known).split(".")[0] for key in keys if key.startswith(known))
        if part not in inside:
            where = f"'{known.rstrip('.')}'" if known else "the configuration"
            try:
                check_choice(f"an option of {where}", part, inside)
            except InputError as error:
                return str(error).replace(f"'an option of {where}'", f"an option of {where}")
        known += f"{part}."
    return f"Expected a value for '{wrong}', which has no options of its own. {_SEE_HELP}"


def _readable(kind: str) -> str:
    """``<class 'int'>`` -> "a whole number", ``typing.Literal['a', 'b']`` -> "one of 'a', 'b'"."""
    literal = _LITERAL.fullmatch(kind)
    if literal:
        return f"one of {literal[1]}"
    kind = _CLASS.sub(r"\1", kind)
    return _WORDS.get(kind, f"a {kind}")


def _in_one_line(text: str) -> str:
    return " ".join(text.split())
