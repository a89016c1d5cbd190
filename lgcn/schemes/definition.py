"""Landmark schemes as plain values: your own in a YAML file, and in the ``config.json`` of a model."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from lgcn.checks import InputError, InputFileError, check_choice, shown
from lgcn.schemes.scheme import Contour, LandmarkScheme

SUFFIXES = (".yaml", ".yml", ".json")
"""Endings of files that hold a scheme."""

KEYS = ("name", "names", "flip_pairs", "contours", "normalizers", "default_normalizer", "sigmas", "subject")
EXAMPLE = "name: five, names: [left_eye, right_eye, nose, left_mouth, right_mouth]"


def scheme_to_dict(scheme: LandmarkScheme) -> dict[str, Any]:
    """The scheme as plain values, which :func:`scheme_from_dict` reads; landmarks by their numbers."""
    return {
        "name": scheme.name,
        "names": list(scheme.names),
        "flip_pairs": [list(pair) for pair in scheme.flip_pairs],
        "contours": {each.name: {"landmarks": list(each.indices), "closed": each.closed} for each in scheme.contours},
        "normalizers": {name: [list(group) for group in groups] for name, groups in scheme.normalizers.items()},
        "default_normalizer": scheme.default_normalizer,
        "sigmas": list(scheme.sigmas),
        "subject": scheme.subject,
    }


def scheme_from_dict(content: Any) -> LandmarkScheme:
    """Build a scheme from plain values, such as the content of a YAML file.

    Args:
        content: a mapping with ``name`` and ``names``, and where there are any ``flip_pairs`` (pairs of landmarks),
            ``contours`` (name -> landmarks, or ``{landmarks: ..., closed: true}``), ``normalizers`` (name -> two
            landmarks or two groups of them), ``default_normalizer``, ``sigmas`` (a number for each landmark) and
            ``subject``. A landmark is its name, or its number from 0.

    Raises:
        InputError: for an unknown key or landmark (lists the choices), or a value of a wrong form.
    """
    if not isinstance(content, Mapping):
        raise InputError(f"Expected a landmark scheme as a mapping such as '{EXAMPLE}' (got {shown(content)}).")
    for key in content:
        check_choice("key of a landmark scheme", key, KEYS)
    for key in ("name", "names"):
        if key not in content:
            raise InputError(f"Expected '{key}' in a landmark scheme (got {', '.join(content)}). Such as '{EXAMPLE}'.")
    name, names = content["name"], content["names"]
    if not isinstance(name, str) or not name or name.endswith(SUFFIXES):
        raise InputError(
            f"Expected 'name' of a landmark scheme to be a name without a file ending (got {shown(name)})."
        )
    if not isinstance(names, Sequence) or isinstance(names, str) or not all(isinstance(each, str) for each in names):
        raise InputError(
            f"Expected 'names' of scheme '{name}' to be a list with a name for each landmark (got {shown(names)}). "
            "Put names such as 'on' and 'no' in quotes."
        )
    read = _Reader(name, list(names))
    contours = read.mapping("contours", content.get("contours"))
    normalizers = read.mapping("normalizers", content.get("normalizers"))
    sigmas = read.items("sigmas", content.get("sigmas") or ())
    if not all(isinstance(each, int | float) and not isinstance(each, bool) for each in sigmas):
        raise InputError(f"Expected 'sigmas' of scheme '{name}' to hold numbers (got {shown(sigmas)}).")
    return LandmarkScheme(
        name=name,
        names=tuple(names),
        flip_pairs=tuple(  # LandmarkScheme checks that they are pairs
            cast(tuple[int, int], read.landmarks("flip_pairs", each))
            for each in read.items("flip_pairs", content.get("flip_pairs"))
        ),
        contours=tuple(read.contour(str(key), value) for key, value in contours.items()),
        normalizers={str(key): read.groups(f"normalizers: {key}", value) for key, value in normalizers.items()},
        default_normalizer=content.get("default_normalizer") or next(map(str, normalizers), "box"),
        sigmas=tuple(float(each) for each in sigmas),
        subject=content.get("subject", "face"),
    )


def read_scheme(path: str | Path) -> LandmarkScheme:
    """Read a scheme from a YAML or JSON file, without registering it; see :func:`scheme_from_dict`.

    Raises:
        InputFileError: if the file cannot be read or does not hold a scheme.
    """
    import yaml

    path = Path(path).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputFileError(f"Expected a landmark scheme in '{path}' (it cannot be read: {reason}).") from error
    try:
        return scheme_from_dict(content)
    except InputError as error:
        raise InputFileError(f"{error} In '{path}'.") from error


class _Reader:
    """Reads parts of a scheme whose landmarks have these names."""

    def __init__(self, scheme: str, names: list[str]) -> None:
        self.scheme = scheme
        self.names = names

    def items(self, what: str, value: Any) -> Sequence[Any]:
        if value is None:
            return ()
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise InputError(f"Expected '{what}' of scheme '{self.scheme}' to be a list (got {shown(value)}).")
        return value

    def mapping(self, what: str, value: Any) -> Mapping[Any, Any]:
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise InputError(
                f"Expected '{what}' of scheme '{self.scheme}' to map names to landmarks (got {shown(value)})."
            )
        return value

    def landmark(self, what: str, value: Any) -> int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value  # LandmarkScheme checks the range
        return self.names.index(check_choice(f"landmark in {what} of scheme '{self.scheme}'", value, self.names))

    def landmarks(self, what: str, value: Any) -> tuple[int, ...]:
        return tuple(self.landmark(what, each) for each in self.items(what, value))

    def contour(self, name: str, value: Any) -> Contour:
        what = f"contours: {name}"
        if not isinstance(value, Mapping):
            return Contour(name, self.landmarks(what, value))
        for key in value:
            check_choice(f"key of {what}", key, ("landmarks", "closed"))
        return Contour(name, self.landmarks(what, value.get("landmarks")), value.get("closed") is True)

    def groups(self, what: str, value: Any) -> Any:
        """Two groups of landmarks; a single landmark is a group of its own."""
        return tuple(
            self.landmarks(what, each)
            if isinstance(each, Sequence) and not isinstance(each, str)
            else (self.landmark(what, each),)
            for each in self.items(what, value)
        )
