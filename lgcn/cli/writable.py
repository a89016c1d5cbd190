"""Check before the work that a file or folder can be written."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile


def check_writable_folder(option: str, folder: Path) -> None:
    """Check that ``folder`` can be written to, or created, and has room; leave nothing behind.

    Args:
        option: of the command line, for the message.
        folder: need not exist yet.

    Raises:
        InputFileError: if it, or something above it, is a file or cannot be written to.
    """
    from lgcn.checks import InputFileError

    try:
        there = next((each for each in (folder, *folder.parents) if each.exists()), Path())
        if not there.is_dir():
            raise InputFileError(f"Expected '{option}' to be in a folder (got '{folder}', but '{there}' is a file).")
        with TemporaryFile(dir=there) as file:
            file.write(bytes(4096))
            file.flush()
    except InputFileError:
        raise
    except OSError as error:
        raise InputFileError(
            f"Expected '{option}' to be writable (got '{folder}': {error.strerror or error}). Choose another place."
        ) from error


def check_writable_file(option: str, path: Path) -> None:
    """Check that a file can be written at ``path``; leave nothing behind.

    Raises:
        InputFileError: if ``path`` is a folder, or its own folder cannot be written to.
    """
    from lgcn.checks import InputFileError

    if path.is_dir():
        raise InputFileError(f"Expected '{option}' to be a file to write (got the folder '{path}').")
    check_writable_folder(option, path.parent)


def check_not_replaced(paths: Sequence[Path], overwrite: bool) -> None:
    """Check that none of the files that are going to be written exists, unless they may be overwritten.

    Raises:
        InputFileError: naming the first that exists, and ``--overwrite``.
    """
    from lgcn.checks import InputFileError

    existing = [path for path in paths if path.is_file()] if not overwrite else []
    folders = [path for path in paths if path.is_dir()]
    if folders:
        raise InputFileError(f"Expected to write the file '{folders[0]}' (it is a folder). Choose another '--output'.")
    if existing:
        more = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise InputFileError(
            f"Expected not to replace earlier results (got '{existing[0]}'{more}). "
            "Choose another '--output', or replace them with '--overwrite'."
        )


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turn an error of the file system, such as a full disk, into one of the argument ``--output``."""
    from lgcn.checks import InputFileError

    try:
        yield
    except InputFileError:
        raise
    except OSError as error:
        raise InputFileError(
            f"Expected to be able to write to '{folder}' ({error.strerror or error}). Give another '--output'."
        ) from error
