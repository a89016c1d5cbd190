"""Options of a dataset on the command line: ``--dataset-option NAME=VALUE``, typed by the dataset's signature."""

import argparse
from collections.abc import Callable, Sequence
from inspect import signature
from types import UnionType
from typing import Any, Union, get_args, get_origin

RESERVED = ("root", "split", "transform", "protocol", "normalizer")
"""Arguments of every dataset that commands pass themselves."""

_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def add_dataset_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--dataset-option``, which may be repeated, and ``--scheme``; see :func:`parse_dataset_options`."""
    parser.add_argument(
        "--scheme",
        metavar="NAME|FILE",
        help="landmark scheme of a dataset of any landmarks (pts, coco_keypoints): a name, or a .yaml file of your own",
    )
    parser.add_argument(
        "--dataset-option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="argument of the dataset, for instance one_based=false for .pts files counted from 0; may be repeated",
    )


def parse_dataset_options(words: Sequence[str], build: Callable[..., Any], scheme: str | None = None) -> dict[str, Any]:
    """Keyword arguments of a dataset from words such as ``one_based=false``.

    Args:
        words: each ``NAME=VALUE``; the last value of a name counts.
        build: the dataset class, an entry of :data:`lgcn.datasets.DATASETS`.
        scheme: a landmark scheme, the argument "scheme" of the dataset.

    Returns:
        Name to value, converted to the annotated type of the argument: a boolean, a number, text, or None for
        ``none`` and ``null`` where None is allowed.

    Raises:
        InputError: if a word has no ``=``, the dataset has no such option (lists the choices), or the value is not of
            the option's type.
    """
    from lgcn.checks import InputError, check_options
    from lgcn.schemes import get_scheme

    if scheme is not None and "scheme" not in signature(build).parameters:
        raise InputError(f"Expected '--scheme' with a dataset of any landmarks, such as pts (got {build.__name__}).")
    pairs = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise InputError(f"Expected '--dataset-option' as NAME=VALUE (got '{word}'). For instance one_based=false.")
        pairs[name.strip().replace("-", "_")] = value.strip()
    check_options("dataset option", pairs, build, given=RESERVED)
    parameters = signature(build, eval_str=True).parameters
    options = {name: _parse(name, value, parameters[name].annotation) for name, value in pairs.items()}
    return options if scheme is None else {**options, "scheme": get_scheme(scheme)}


def _parse(name: str, text: str, annotation: Any) -> Any:
    """``text`` as the first of the annotated types that it can be read as."""
    from lgcn.checks import InputError

    union = get_origin(annotation) in (Union, UnionType)
    kinds = get_args(annotation) if union else (annotation,)
    if type(None) in kinds and text.lower() in ("none", "null"):
        return None
    if bool in kinds and text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    for kind in (int, float):
        if kind in kinds:
            try:
                return kind(text)
            except ValueError:
                continue
    if str in kinds or not {bool, int, float}.intersection(kinds):
        return text
    expected = {bool: "true or false", int: "a whole number", float: "a number", type(None): "none"}
    choices = " or ".join(words for kind, words in expected.items() if kind in kinds)
    raise InputError(f"Expected the dataset option '{name}' to be {choices} (got '{text}').")
