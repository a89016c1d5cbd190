"""Comparison of the keypoints that a COCO file names with those of a landmark scheme."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from lgcn.checks import InputFileError
from lgcn.datasets.coco_json import Annotation, Id
from lgcn.datasets.parsing import likewise
from lgcn.schemes import SCHEMES, LandmarkScheme

_NUMBER = re.compile(r"\d+")
_SEPARATORS = re.compile(r"[\s_.\-]+")


def keypoint_names(categories: dict[Id, list[str]], annotations: Sequence[Annotation], path: Path) -> list[str]:
    """Names of the keypoints, from the categories of the annotations; empty if no category names them.

    Raises:
        InputFileError: if the annotations are of categories with different keypoints.
    """
    used = dict.fromkeys(each.category_id for each in annotations)
    named = {key: categories[key] for key in used if key is not None and categories.get(key)}
    if None in used and not named:
        named = {key: names for key, names in categories.items() if names}
    first = next(iter(named), None)
    if first is None:
        return []
    for key, names in named.items():
        if names != named[first]:
            raise InputFileError(
                f"Expected annotations with the same keypoints in '{path}' (got categories {ascii(first)[:40]} and "
                f"{ascii(key)[:40]}, whose keypoints differ). Keep annotations of other schemes in separate files."
            )
    return named[first]


def scheme_with_names(names: Sequence[str]) -> LandmarkScheme | None:
    """The registered scheme whose landmarks have these names in this order, None if there is none."""
    found = [_plain(name) for name in names]
    return next((SCHEMES[key] for key in SCHEMES if [_plain(name) for name in SCHEMES[key].names] == found), None)


def num_keypoints(
    counts: Sequence[int], names: Sequence[str], scheme: LandmarkScheme | None, where: Callable[[int], str]
) -> int:
    """The number of landmarks K, from the given scheme, the names, or the numbers of each annotation (3 K or 2 K).

    Args:
        counts: number of the numbers of each annotation.
        names: of the keypoints, empty if unknown.
        scheme: given by the user.
        where: index of an annotation -> its place in words, for messages.

    Raises:
        InputFileError: if an annotation has another number of numbers.
    """
    first = counts[0]
    if scheme is not None or names:
        K = scheme.num_landmarks if scheme is not None else len(names)
        if first not in (2 * K, 3 * K) and len(set(counts)) == 1:
            return first // 3 if first % 3 == 0 else 0  # the message of the scheme follows
    else:
        K = first // 3 if first % 3 == 0 else 0
        sizes = {SCHEMES[name].num_landmarks for name in SCHEMES}
        if K not in sizes and first % 2 == 0 and first // 2 in sizes:
            K = first // 2
    per_landmark = 2 if first == 2 * K else 3
    expected = per_landmark * K if K else first
    uneven = [index for index, count in enumerate(counts) if count != expected]
    if uneven:
        raise InputFileError(
            f"Expected {expected} numbers {'x, y, v' if per_landmark == 3 else 'x, y'} as 'keypoints' of "
            f"{where(uneven[0])} (got {counts[uneven[0]]}). Keep annotations of other schemes in separate files."
            f"{likewise(uneven, where)}"
        )
    return K


def check_keypoint_names(names: Sequence[str], scheme: LandmarkScheme, path: Path, *, given: bool) -> None:
    """Check that the keypoints of a file are those of the scheme, in the same order.

    Names that only number the keypoints carry no information and are accepted. If the user has given the scheme, so are
    all other names, unless they are the scheme's own in another order.

    Args:
        names: of the keypoints in the file; empty if unknown.
        scheme: that the file is read as.
        path: the file.
        given: whether the user has named the scheme.

    Raises:
        InputFileError: with the first name that differs.
    """
    found, expected = [_plain(name) for name in names], [_plain(name) for name in scheme.names]
    if not names or found == expected or _only_number(names):
        return
    if len(found) != len(expected):
        raise InputFileError(
            f"Expected {len(expected)} names of keypoints in '{path}', as scheme '{scheme.name}' has "
            f"(got {len(found)}). Correct 'keypoints' of the category."
        )
    if given and sorted(found) != sorted(expected):
        return
    index = next(index for index, name in enumerate(found) if name != expected[index])
    remedy = (
        "Reorder the keypoints."
        if sorted(found) == sorted(expected)
        else f"If they are the same landmarks, give scheme='{scheme.name}'; else register your own scheme with "
        "lgcn.schemes.SCHEMES.register and give its name."
    )
    raise InputFileError(
        f"Expected the keypoints of scheme '{scheme.name}' in '{path}' (got {ascii(names[index])[:60]} where it has "
        f"'{scheme.names[index]}', keypoint {index}). {remedy}"
    )


def _plain(name: str) -> str:
    """A name without differences of case and separators."""
    return _SEPARATORS.sub("_", name.strip().casefold())


def _only_number(names: Sequence[str]) -> bool:
    """Whether the names are the same but for increasing numbers, such as "0", "1" or "point_1", "point_2"."""
    numbers = [_NUMBER.findall(name) for name in names]
    if (
        any(len(each) != 1 or len(each[0]) > 9 for each in numbers)
        or len({_NUMBER.sub("", name) for name in names}) != 1
    ):
        return False
    start = int(numbers[0][0])
    return [int(each[0]) for each in numbers] == list(range(start, start + len(names)))
