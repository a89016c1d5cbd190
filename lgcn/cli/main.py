"""``lgcn``: parse and run a command; user errors become one line and exit status 2."""

import argparse
import errno
import io
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from lgcn import __version__
from lgcn.cli.libraries import load_libraries
from lgcn.cli.memory import keep_freed_memory
from lgcn.cli.stopping import exit_status
from lgcn.files import printable

COMMANDS = {
    "predict": "find the landmarks of faces in images",
    "demo": "open a page in the browser to try a model",
    "fit": "train a detector from a configuration",
    "evaluate": "measure a detector on a dataset",
    "export": "write a detector as an ONNX or compiled file",
    "calibrate": "calibrate the expected errors of a detector",
    "dataset": "check the files of a dataset",
    "refine": "improve the landmarks of any detector",
    "fit-refiner": "fit a refiner to predictions of any detector",
    "protocols": "list the evaluation protocols",
    "connectivity": "draw the learned graph of faces in images",
}

_UNUSABLE = {errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP}
"""Errors of paths that the user gave, below a folder that may not be entered, for instance."""


def create_parser(command: str | None) -> argparse.ArgumentParser:
    """The parser of ``lgcn``; only the arguments of ``command`` are loaded, with what they import."""
    parser = argparse.ArgumentParser(
        prog="lgcn",
        description="Landmark detection with learnable-connectivity graph convolution.",
        epilog="'lgcn COMMAND --help' explains a command and shows examples.",
    )
    parser.add_argument("--version", action="version", version=f"lgcn {__version__}")
    parser.add_argument(
        "--import",
        action="append",
        metavar="MODULE",
        help="import your module, which registers backbones, refiners, schemes, ...; goes before the command",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for name, summary in COMMANDS.items():
        subparser = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name == command:
            import_module(_module_of(name)).add_arguments(subparser)
    return parser


def run(argv: Sequence[str]) -> int:
    """Parse ``argv`` and run the command."""
    argv = import_modules(argv)
    command = next((word for word in argv if not word.startswith("-")), None)
    if argv and argv[0] == "fit":
        # jsonargparse generates its options and help from the signatures.
        return import_module("lgcn.cli.fit").run(list(argv[1:]))
    arguments = create_parser(command).parse_args(argv)
    load_libraries("lgcn.checks")  # torch, which all commands need
    return import_module(_module_of(arguments.command)).run(arguments) or 0


def _module_of(command: str) -> str:
    return f"lgcn.cli.{command.replace('-', '_')}"


def import_modules(argv: Sequence[str]) -> list[str]:
    """Import the modules that ``--import`` names at the start of ``argv``; return the other words."""
    words = list(argv)
    while words and words[0].partition("=")[0] == "--import":
        _, equals, name = words.pop(0).partition("=")
        name = name if equals else words.pop(0) if words else ""
        # As for `python -m`: a script in a bin folder does not see modules in the current one.
        if str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        try:
            import_module(name)
        except (ModuleNotFoundError, ValueError) as error:
            from lgcn.checks import InputError

            raise InputError(f"Expected '--import' to be a module in Python's path (got '{name}': {error}).") from error
    return words


def main(argv: Sequence[str] | None = None) -> int:
    """The console script ``lgcn``; returns the exit status."""
    # Raised by imported libraries; it would hide the one line that matters.
    warnings.filterwarnings("ignore", message=r".*torch\.jit.*deprecated", category=FutureWarning)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names may hold what the stream cannot encode: printed as escape sequences, as on stderr.
        sys.stdout.reconfigure(errors="backslashreplace")
    keep_freed_memory()
    try:
        status = run(sys.argv[1:] if argv is None else argv)
        _flush()
        return status
    except BrokenPipeError:
        # The reader closed the pipe, as in `lgcn ... | head`.
        _discard_output()
        return 0
    except KeyboardInterrupt as stop:
        return exit_status(stop)
    except ValueError as error:
        # Imported only here because `lgcn.checks` imports torch, which `lgcn --help` does not need.
        from lgcn.checks import InputError

        if not isinstance(error, InputError):
            raise
        return _report(str(error))
    except OSError as error:
        # Asking whether a path is a file raises for them.
        if error.filename is None or error.errno not in _UNUSABLE:
            raise
        return _report(
            f"Expected a path that can be used (got '{error.filename}': {error.strerror}). "
            "Correct it, or the permissions of the folders above it."
        )


def _report(message: str) -> int:
    """Print an error; its exit status."""
    print(f"lgcn: error: {printable(message, sys.stderr.encoding or 'ascii')}", file=sys.stderr)
    return 2


def _flush() -> None:
    """Write what is still buffered for stdout.

    Raises:
        InputFileError: if the disk that stdout is redirected to is full.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        from lgcn.checks import InputFileError

        _discard_output()
        reason = error.strerror or error
        raise InputFileError(f"Expected to be able to write to standard output ({reason}).") from error


def _discard_output() -> None:
    """Keep the interpreter from failing again when it flushes stdout on exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
