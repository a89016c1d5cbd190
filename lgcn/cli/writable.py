"""Whether a file or folder can be written, asked before hours of work instead of after them."""

from pathlib import Path
from tempfile import TemporaryFile

from lgcn.checks import InputFileError


def check_writable_folder(option: str, folder: Path) -> None:
    """Checks that ``folder`` can be written to, or created; leaves nothing behind.

    Args:
        option: of the command line, for the message.
        folder: may not be there yet.

    Raises:
        InputFileError: if it, or something above it, is a file or cannot be written to.
    """
    there = next((each for each in (folder, *folder.parents) if each.exists()), Path())
    if not there.is_dir():
        raise InputFileError(f"Expected '{option}' to be in a folder (got '{folder}', but '{there}' is a file).")
    try:
        with TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise InputFileError(
            f"Expected '{option}' to be writable (got '{folder}': {error.strerror or error}). Choose another place."
        ) from error


def check_writable_file(option: str, path: Path) -> None:
    """Checks that a file can be written at ``path``; leaves nothing behind.

    Raises:
        InputFileError: if ``path`` is a folder, or its own folder cannot be written to.
    """
    if path.is_dir():
        raise InputFileError(f"Expected '{option}' to be a file to write (got the folder '{path}').")
    check_writable_folder(option, path.parent)
