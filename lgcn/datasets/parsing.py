"""Helpers for readers of annotation files: checked text, image paths, numbers and coordinates."""

import codecs
import os
import posixpath
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lgcn.checks import InputFileError
from lgcn.schemes import SCHEMES, LandmarkScheme, get_scheme

MAX_LISTED = 10
"""Number of further rows that a message on a damaged row names."""

MAX_COORDINATE = 1e6
"""Largest coordinate in pixels that is accepted: no image is that large."""

_DRIVE = re.compile(r"[A-Za-z]:")


def read_text(path: Path, what: str, remedy: str = "") -> str:
    """Read the text of an annotation file: UTF-8, or UTF-16 with a byte order mark.

    Other bytes become lone surrogates, as in file names, so that a name in another encoding finds its file.

    Args:
        path: the file.
        what: kind of the file, for the message ("a list of WFLW").
        remedy: which files go where, for the message.

    Raises:
        InputFileError: if the file is missing or cannot be read.
    """
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise InputFileError(f"Expected {what} at '{path}' ({reason}). {remedy}".rstrip()) from None
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    return content.decode("utf-8-sig", errors="surrogateescape")


def is_file(path: Path) -> bool:
    """Whether ``path`` is a file; also False for names that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def path_below(root: Path, name: str, what: str) -> Path:
    """``root / name`` for a name that the user gives, such as a split.

    Raises:
        InputFileError: if the path is not below ``root``, or no file can have it; ``what`` is the kind of thing named.
    """
    path = Path(os.path.normpath(root / name))
    try:
        path.exists()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputFileError(f"Expected {what} below '{root}' (got '{name[:60]}': {reason}).") from None
    if not path.is_relative_to(os.path.normpath(root)):
        raise InputFileError(
            f"Expected {what} below '{root}' (got '{name}'). Give a folder that holds both as the root, or link to it."
        )
    return root / path.relative_to(os.path.normpath(root))


def scheme_of(
    scheme: str | LandmarkScheme | None, num_landmarks: int, where: str, usual: Sequence[str] = ()
) -> LandmarkScheme:
    """The given scheme, else the only registered one with as many landmarks as the annotation.

    Names in ``usual`` are those of the file format: among several that fit, one of them is taken.

    Raises:
        InputFileError: if the number differs from the scheme's, or no scheme or several schemes have it.
    """
    if scheme is not None:
        chosen = get_scheme(scheme)
        if chosen.num_landmarks != num_landmarks:
            raise InputFileError(
                f"Expected {chosen.num_landmarks} landmarks in {where}, as scheme '{chosen.name}' has "
                f"(got {num_landmarks}). Name the scheme that the annotation follows."
            )
        return chosen
    fitting = [name for name in SCHEMES if SCHEMES[name].num_landmarks == num_landmarks]
    fitting = [name for name in fitting if name in usual] or fitting
    if len(fitting) != 1:
        known = ", ".join(f"{name} {SCHEMES[name].num_landmarks}" for name in fitting or SCHEMES.names())
        raise InputFileError(
            f"Expected as many landmarks in {where} as one known scheme has: {known} (got {num_landmarks}). "
            "Give 'scheme', a name or a .yaml file that defines your own."
        )
    return SCHEMES[fitting[0]]


def image_path(name: str, where: str, *, root: str | Path = "", folder: str = "") -> str:
    """The path of an image relative to the root of its dataset, from the name in an annotation file.

    Backslashes separate folders as slashes do. A leading slash is dropped, and so is the root where an absolute path
    starts with it: names are never looked up outside the root.

    Args:
        name: as written in the file.
        where: place of the name, for the message.
        root: of the dataset.
        folder: the folder below the root that names are relative to.

    Returns:
        The path with slashes, without ``.`` and ``..``.

    Raises:
        InputFileError: if no file can have the name, or it leads out of the root.
    """
    try:
        fits = b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        fits = False
    plain = name.replace("\\", "/")
    top = os.path.normpath(Path(root).absolute()).replace("\\", "/").rstrip("/")
    if root and plain.startswith(f"{top}/"):
        plain, folder = plain.removeprefix(f"{top}/"), ""
    path = posixpath.normpath(posixpath.join(folder, plain.lstrip("/")))
    if not fits or not plain.strip("/") or path in (".", posixpath.normpath(folder or ".")):
        raise InputFileError(f"Expected the name of an image in {where} (got {ascii(name)[:60]}). Correct the row.")
    if path.startswith("../") or path == ".." or _DRIVE.match(plain):
        raise InputFileError(
            f"Expected the path of an image below the root in {where} (got {ascii(name)[:60]}). "
            "Write paths relative to the folder of the images."
        )
    return path


def likewise(rows: Iterable[int], where: Callable[[int], str]) -> str:
    """The end of a message on the first of ``rows``: the other rows with the same fault."""
    others = list(rows)[1:]
    if not others:
        return ""
    places = [where(row).partition(" of '")[0] for row in others[:MAX_LISTED]]
    more = f" and {len(others) - MAX_LISTED} more" if len(others) > MAX_LISTED else ""
    return f" Likewise: {', '.join(places)}{more}."


def to_numbers(rows: Sequence[Sequence[object]], where: Callable[[int], str]) -> np.ndarray:
    """Convert rows of text or numbers to float64 [N, F]; empty text is a missing number, NaN.

    Args:
        rows: N rows of one length F.
        where: row -> its place in words, for the message.

    Raises:
        InputFileError: if a row holds anything else; names the value and all such rows.
    """
    try:
        return np.array([[_number(each) for each in row] for row in rows], dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        # Reversed, so that the first odd value of a row is the one that is kept.
        odd = {index: each for index, row in enumerate(rows) for each in reversed(row) if not _is_number(each)}
        if not odd:
            raise
        index, each = next(iter(odd.items()))
        raise InputFileError(
            f"Expected numbers in {where(index)} (got {ascii(each)[:60]}). Correct or remove the row."
            f"{likewise(odd, where)}"
        ) from None


def to_points(values: np.ndarray, where: Callable[[int], str]) -> tuple[Tensor, Tensor]:
    """Split coordinates [N, K, 2] into positions float32 [N, K, 2] and visibility float32 [N, K].

    A landmark with a NaN coordinate is missing: its visibility is 0 and both its coordinates are NaN.

    Raises:
        InputFileError: if a coordinate is infinite or beyond :data:`MAX_COORDINATE`; names all such rows.
    """
    wrong = np.abs(values) > MAX_COORDINATE  # NaN compares false
    if wrong.any():
        row, landmark, _ = np.argwhere(wrong)[0]
        x, y = values[row, landmark]
        raise InputFileError(
            f"Expected coordinates within {MAX_COORDINATE:g} pixels in {where(int(row))} (got ({x:g}, {y:g}) for "
            f"landmark {landmark}). Correct the point, or give it NaN if it is missing."
            f"{likewise(np.flatnonzero(wrong.any(axis=(1, 2))).tolist(), where)}"
        )
    missing = np.isnan(values).any(axis=-1)
    values = np.where(missing[..., None], np.nan, values)
    return torch.from_numpy(values.astype(np.float32)), torch.from_numpy((~missing).astype(np.float32))


def to_boxes(corner: np.ndarray, size: np.ndarray, where: Callable[[int], str]) -> Tensor:
    """Boxes (x0, y0, x1, y1) float32 [N, 4] from corners (x0, y0) and sizes (w, h), each [N, 2]; NaN where unknown.

    Raises:
        InputFileError: as :func:`to_points` does.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        corners = np.stack([corner, corner + size], axis=1)
    return to_points(corners, where)[0].flatten(1)


def _is_number(value: object) -> bool:
    try:
        _number(value)
    except (ValueError, TypeError, OverflowError):
        return False
    return True


def _number(value: object) -> float:
    if isinstance(value, str):
        # Spreadsheets and pandas leave the cells of a missing landmark empty.
        return float(value) if value.strip() else float("nan")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(value)
    return float(value)
