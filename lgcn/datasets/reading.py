"""What the readers of annotation files share: text, file names and coordinates that are checked once."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lgcn.checks import InputFileError
from lgcn.schemes import SCHEMES, LandmarkScheme, get_scheme

MAX_LISTED = 10
"""Rows that are named beside the first damaged one."""

MAX_COORDINATE = 1e6
"""Pixels beyond which a coordinate can only be a damaged number: no picture is that large."""


def read_text(path: Path, what: str, remedy: str = "") -> str:
    """The text of an annotation file; a byte that is no UTF-8 becomes the replacement character.

    Args:
        path: the file.
        what: it is, for the message ("a list of WFLW").
        remedy: which files go where.

    Raises:
        InputFileError: if it is missing or cannot be read.
    """
    try:
        return path.read_bytes().decode("utf-8-sig", errors="replace")
    except OSError as error:
        raise InputFileError(f"Expected {what} at '{path}' ({error.strerror}). {remedy}".rstrip()) from None


def is_file(path: Path) -> bool:
    """Whether there is a file of that name; False as well for names that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def scheme_of(scheme: str | LandmarkScheme | None, num_landmarks: int, where: str) -> LandmarkScheme:
    """The scheme asked for, else the only known one with as many landmarks as the annotation has.

    Raises:
        InputFileError: if the number is another one than the scheme's, or no scheme or several have it.
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
    if len(fitting) != 1:
        known = ", ".join(f"{name} {SCHEMES[name].num_landmarks}" for name in fitting or SCHEMES.names())
        raise InputFileError(
            f"Expected as many landmarks in {where} as one known scheme has: {known} (got {num_landmarks}). "
            "Give 'scheme', or register one of your own with lgcn.schemes.SCHEMES.register."
        )
    return SCHEMES[fitting[0]]


def check_image_name(name: str, where: str) -> str:
    """Returns ``name`` if a file can be called so.

    Raises:
        InputFileError: if it is empty or holds what no file name holds; ``where`` says in which row.
    """
    try:
        fits = bool(name) and b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        fits = False
    if not fits:
        raise InputFileError(f"Expected the name of a picture in {where} (got {ascii(name)[:60]}). Correct the row.")
    return name


def likewise(rows: Iterable[int], where: Callable[[int], str]) -> str:
    """The end of a message on the first of ``rows``: which others have the same fault, so that one look is enough."""
    others = list(rows)[1:]
    if not others:
        return ""
    places = [where(row).partition(" of '")[0] for row in others[:MAX_LISTED]]
    more = f" and {len(others) - MAX_LISTED} more" if len(others) > MAX_LISTED else ""
    return f" Likewise: {', '.join(places)}{more}."


def to_numbers(rows: Sequence[Sequence[object]], where: Callable[[int], str]) -> np.ndarray:
    """Rows of text or numbers -> float64 [N, F]; empty text is a missing number, NaN.

    Args:
        rows: N rows of one length F.
        where: row -> its place in words, for the message.

    Raises:
        InputFileError: with the first row that holds something else, what it is, and the other such rows.
    """
    try:
        return np.array([[_number(each) for each in row] for row in rows], dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        # The first of a row stays, since it comes last.
        odd = {index: each for index, row in enumerate(rows) for each in reversed(row) if not _is_number(each)}
        if not odd:
            raise
        index, each = next(iter(odd.items()))
        raise InputFileError(
            f"Expected numbers in {where(index)} (got {ascii(each)[:60]}). Correct or remove the row."
            f"{likewise(odd, where)}"
        ) from None


def to_points(values: np.ndarray, where: Callable[[int], str]) -> tuple[Tensor, Tensor]:
    """Coordinates [N, K, 2] -> positions float32 [N, K, 2] and visibility [N, K].

    A landmark with a NaN coordinate is missing: its visibility is 0 and both its coordinates are NaN.

    Raises:
        InputFileError: for an infinite coordinate, or one beyond :data:`MAX_COORDINATE`; names all such rows.
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
    """Corners (x0, y0) [N, 2] and sizes (w, h) [N, 2] -> boxes (x0, y0, x1, y1) float32 [N, 4], NaN where unknown.

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
