"""The ``.pts`` files of 300-W and similar datasets."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from lgcn.checks import InputFileError, check_shape
from lgcn.datasets.parsing import MAX_COORDINATE, read_text
from lgcn.files import write_text
from lgcn.images import is_image_name, list_images

_COMMENT = re.compile(r"(#|//).*")
_HEADER = re.compile(r"([A-Za-z_]\w*)\s*:\s*(\S*)$")


def read_pts(path: str | os.PathLike[str], num_landmarks: int | None = None, *, allow_missing: bool = False) -> Tensor:
    """Read the points of a ``.pts`` file as they are written; iBUG's files are 1-based.

    The official form is ``version: 1``, ``n_points: 68``, ``{``, one ``x y`` per line, ``}``. Header
    and braces may be missing; blank lines and comments after ``#`` or ``//`` are skipped.

    Args:
        path: the file.
        num_landmarks: number of points that the file must hold. Default: any.
        allow_missing: accept points with a NaN coordinate as landmarks that are not annotated and
            return NaN for both coordinates. By default they are refused, as 300-W has none.

    Returns:
        float32 [K, 2], pixels with the file's own origin.

    Raises:
        InputFileError: if the file is missing, has a header of another version, holds anything but
            points, a point that is not finite or beyond
            :data:`~lgcn.datasets.parsing.MAX_COORDINATE`, or another number of points than its
            header or ``num_landmarks`` says.
    """
    path = Path(path)
    lines = [_COMMENT.sub("", line).strip() for line in read_text(path, "a .pts file").splitlines()]
    header, body = _split_header(lines)
    rows = [line.split() for line in body if line.strip()]
    try:
        pos = torch.tensor([[float(x), float(y)] for x, y in rows], dtype=torch.float32).reshape(-1, 2)
    except ValueError:
        wrong = next(row for row in rows if not _is_point(row))
        raise InputFileError(
            f"Expected one 'x y' per line in '{path}' (got '{' '.join(wrong)[:60]}'). "
            "Points are between '{' and '}' or alone in the file; correct or remove the line."
        ) from None
    _check_header(header, len(pos), path)
    if num_landmarks not in (None, len(pos)):
        raise InputFileError(
            f"Expected {num_landmarks} points in '{path}', as the landmark scheme says (got {len(pos)}). "
            "Restore the file from the original archive, or remove it and its image."
        )
    if not len(pos):
        raise InputFileError(f"Expected points in '{path}' (got none). Restore it, or remove it and its image.")
    missing = pos.isnan().any(dim=-1)
    refused = (pos.abs() > MAX_COORDINATE).any(dim=-1) | (missing & (not allow_missing))
    if refused.any():
        first = int(refused.nonzero()[0])
        raise InputFileError(
            f"Expected finite coordinates in '{path}' (got '{' '.join(rows[first])[:60]}' for landmark {first}). "
            "Correct the point, or remove the file and its image."
        )
    return pos.masked_fill(missing[:, None], torch.nan)


def write_pts(path: str | os.PathLike[str], pos: Tensor) -> None:
    """Write points [K, 2] with the official header, unchanged (add 1 first for 1-based files)."""
    check_shape("pos", pos, "K 2")
    rows = "".join(f"{x:.6f} {y:.6f}\n" for x, y in pos.tolist())
    write_text(Path(path), f"version: 1\nn_points: {len(pos)}\n{{\n{rows}}}\n")


class PtsPairs(NamedTuple):
    """Images and ``.pts`` files of a folder."""

    pairs: list[tuple[Path, Path]]
    """Image and its ``.pts``, in the order of the files."""
    images: list[Path]
    """Images without a ``.pts``."""
    points: list[Path]
    """``.pts`` files without an image."""


def pair_with_pts(files: Iterable[Path]) -> PtsPairs:
    """Find the images among ``files`` and the ``.pts`` of the same name next to each.

    An image is a file with the suffix of an image format, or one next to a lone ``.pts`` that Pillow opens whatever
    its suffix.

    Raises:
        InputFileError: if two images share one ``.pts``, or two ``.pts`` one image.
    """
    points: dict[Path, Path] = {}
    images: dict[Path, Path] = {}
    others: dict[Path, list[Path]] = {}
    files = list(files)
    for path in files:
        stem = path.with_suffix("")
        if path.suffix.lower() == ".pts":
            _check_single(points.setdefault(stem, path), path, ".pts file for an image")
        elif not is_image_name(path):
            others.setdefault(stem, []).append(path)
    for path in files:
        if is_image_name(path) and path.with_suffix("") in points:
            _check_single(images.setdefault(path.with_suffix(""), path), path, "image for a .pts file")
    for stem in points.keys() - images.keys():
        for path in others.get(stem, []):
            if _opens_as_image(path):
                _check_single(images.setdefault(stem, path), path, "image for a .pts file")
    paired = set(images.values())
    return PtsPairs(
        [(path, points[path.with_suffix("")]) for path in files if path in paired],
        [path for path in files if is_image_name(path) and path not in paired],
        [path for stem, path in points.items() if stem not in images],
    )


def files_of(folder: Path, *, recursive: bool = False) -> list[Path]:
    """The files of a folder in the order of their names, images or not, without hidden ones.

    Raises:
        InputFileError: if the folder, or with ``recursive`` one in it, may not be listed.
    """
    listing = list_images(folder, recursive=recursive)
    return sorted(listing.images + listing.others)


def _opens_as_image(path: Path) -> bool:
    """Whether Pillow recognises the content of a file, whatever its name. Reads the header only."""
    try:
        with Image.open(path):
            return True
    except Exception:  # Pillow's plugins raise nearly anything
        return False


def _split_header(lines: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Names and values of the header, and the lines between the braces, or without braces all other lines."""
    before, brace, rest = "\n".join(lines).partition("{")
    head = before.splitlines()  # all lines if there is no brace
    header = [(match[1].lower(), match[2]) for line in head if (match := _HEADER.match(line.strip()))]
    body = rest.partition("}")[0].splitlines() if brace else [line for line in head if not _HEADER.match(line)]
    return header, body


def _check_header(header: list[tuple[str, str]], count: int, path: Path) -> None:
    """Raise :class:`InputFileError` unless the version is 1 and ``n_points`` the number of points."""
    for name, value in header:
        if name == "n_points" and _as_number(value) != count:
            raise InputFileError(
                f"Expected {value[:20] or 'a number of'} points in '{path}', as its own header says (got {count}). "
                "Restore the file from the original archive, or remove it and its image."
            )
        if name == "version" and _as_number(value) != 1:
            raise InputFileError(
                f"Expected version 1 of the .pts format in '{path}' (got '{value[:20]}'). Convert the file."
            )


def _check_single(first: Path, second: Path, what: str) -> None:
    if first != second:
        raise InputFileError(f"Expected one {what} (got '{first}' and '{second.name}'). Remove or rename one of them.")


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _is_point(row: list[str]) -> bool:
    return len(row) == 2 and all(_as_number(number) is not None for number in row)
