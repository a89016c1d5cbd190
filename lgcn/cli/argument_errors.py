"""What the parser of ``lgcn fit`` has against a configuration, in one line."""

import re

_KEY = re.compile(r'^Parser key "([^"]+)":')
_EXPECTED = re.compile(r"Expected an? (.+?)\.?(?: Got value: .*)?$", re.MULTILINE)
_GIVEN = re.compile(r"(?:Got|Given) value: (.*)\Z", re.DOTALL)
_UNLOADED = re.compile(r"Unable to load config '(.*?)'")
_UNKNOWN = re.compile(r"unrecognized arguments?: (.*)", re.IGNORECASE)
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


def explain(message: str, config: str | None = None) -> str:
    """An argument error of jsonargparse as one line that names the key, what was expected, what came and the remedy.

    Args:
        message: of the error; of several lines where a value fits none of several types.
        config: the configuration file, for errors of its syntax.
    """
    if "data.root" in message and "required" in message:
        return "Expected the folder of the dataset (got none). Give it with --data.root DIR."
    if message.startswith("Problems parsing config") and config is not None:
        reason = _in_one_line(message.partition(":")[2].replace('in "<unicode string>", ', "at "))
        return f"Expected YAML in '{config}' ({reason})."
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


def _readable(kind: str) -> str:
    """``<class 'int'>`` -> "a whole number", ``typing.Literal['a', 'b']`` -> "one of 'a', 'b'"."""
    literal = _LITERAL.fullmatch(kind)
    if literal:
        return f"one of {literal[1]}"
    kind = _CLASS.sub(r"\1", kind)
    return _WORDS.get(kind, f"a {kind}")


def _in_one_line(text: str) -> str:
    return " ".join(text.split())
