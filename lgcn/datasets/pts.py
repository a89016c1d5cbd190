"""The ``.pts`` files of 300-W and its relatives."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from lgcn.checks import InputFileError, check_shape
from lgcn.datasets.reading import MAX_COORDINATE
from lgcn.files import write_text
from lgcn.images import is_image_name

_COMMENT = re.compile(r"(#|//).*")
_HEADER = re.compile(r"\s*[A-Za-z_]\w*\s*:\s*\S*\s*$")
_COUNT = re.compile(r"n_points\s*:\s*(\d+)")


def read_pts(path: str | os.PathLike[str], num_landmarks: int | None = None, *, allow_missing: bool = False) -> Tensor:
    """Reads the points of a ``.pts`` file as they stand in it, which for iBUG's files means 1-based.

    The official form is ``version: 1``, ``n_points: 68``, ``{``, one ``x y`` a line, ``}``. Header
    and braces may be missing; blank lines and comments after ``#`` or ``//`` are skipped.

    Args:
        path: the file.
        num_landmarks: how many points it must hold; any number if None.
        allow_missing: take a point with a NaN coordinate for a landmark that is not annotated, and
            return NaN for both; else it is refused, as 300-W has none.

    Returns:
        float32 [K, 2], pixels with the file's own origin.

    Raises:
        InputFileError: if the file is missing, holds anything but points, a point that is not finite
            or lies beyond :data:`~lgcn.datasets.reading.MAX_COORDINATE`, or another number of points
            than its header or ``num_landmarks`` says.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
    except OSError as error:
        raise InputFileError(f"Expected a .pts file at '{path}' ({error.strerror}).") from None
    lines = [_COMMENT.sub("", line) for line in text.splitlines()]
    rows = [row.split() for row in _rows_of_points(lines)]
    try:
        pos = torch.tensor([[float(x), float(y)] for x, y in rows], dtype=torch.float32).reshape(-1, 2)
    except ValueError:
        wrong = next(row for row in rows if not _is_point(row))
        raise InputFileError(
            f"Expected one 'x y' a line in '{path}' (got '{' '.join(wrong)[:60]}'). "
            "Points stand between '{' and '}' or alone in the file; correct or remove the line."
        ) from None
    count = _COUNT.search("\n".join(lines))
    expected = {"its own header": int(count[1]) if count else None, "the landmark scheme": num_landmarks}
    for source, number in expected.items():
        if number is not None and number != len(pos):
            raise InputFileError(
                f"Expected {number} points in '{path}', as {source} says (got {len(pos)}). "
                "Restore the file from the original archive, or remove it and its picture."
            )
    if not len(pos):
        raise InputFileError(f"Expected points in '{path}' (got none). Restore it or remove it and its picture.")
    missing = pos.isnan().any(dim=-1)
    refused = (pos.abs() > MAX_COORDINATE).any(dim=-1) | (missing & (not allow_missing))
    if refused.any():
        first = int(refused.nonzero()[0])
        raise InputFileError(
            f"Expected finite coordinates in '{path}' (got '{' '.join(rows[first])}' for landmark {first}). "
            "Correct the point, or remove the file and its picture."
        )
    return pos.masked_fill(missing[:, None], torch.nan)


def write_pts(path: str | os.PathLike[str], pos: Tensor) -> None:
    """Writes points [K, 2] with the official header, as they stand (add 1 first for 1-based files)."""
    check_shape("pos", pos, "K 2")
    rows = "".join(f"{x:.6f} {y:.6f}\n" for x, y in pos.tolist())
    write_text(Path(path), f"version: 1\nn_points: {len(pos)}\n{{\n{rows}}}\n")


def is_image(path: Path) -> bool:
    """Whether a file's name is that of a picture; hidden files are none."""
    return is_image_name(path)


def annotated_images(root: Path, files: Iterable[Path], *, skip_alone: bool = False) -> list[tuple[str, Path]]:
    """Pictures among ``files``, relative to ``root`` and in their order, each with the ``.pts`` beside it.

    Hidden files are passed over. A picture without a ``.pts`` is left out if ``skip_alone``.

    Raises:
        InputFileError: if a picture has no ``.pts``; names three.
    """
    files = list(files)
    annotations = {path.with_suffix(""): path for path in files if path.suffix.lower() == ".pts"}
    pictures = [path for path in files if is_image(path)]
    alone = [path for path in pictures if path.with_suffix("") not in annotations]
    if alone and not skip_alone:
        named = ", ".join(f"'{path}'" for path in alone[:3])
        raise InputFileError(
            f"Expected a .pts file beside every picture (got none for {named}"
            f"{f' and {len(alone) - 3} more' if len(alone) > 3 else ''}). Add the annotation or remove the picture."
        )
    pairs = ((path, annotations.get(path.with_suffix(""))) for path in pictures)
    return [(path.relative_to(root).as_posix(), points) for path, points in pairs if points is not None]


def _rows_of_points(lines: list[str]) -> list[str]:
    """The lines between the braces, or all that are no header where there are no braces."""
    text = "\n".join(lines)
    _start, brace, rest = text.partition("{")
    body = rest.partition("}")[0].splitlines() if brace else [line for line in lines if not _HEADER.match(line)]
    return [line for line in body if line.strip()]


def _is_point(row: list[str]) -> bool:
    try:
        return len([float(number) for number in row]) == 2
    except ValueError:
        return False
