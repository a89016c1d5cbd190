"""``lgcn``: finds the command and runs it; errors of the user become one line and exit status 2."""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module

from lgcn import __version__

COMMANDS = {
    "predict": "find landmarks in pictures",
    "fit": "train a detector from a configuration",
    "evaluate": "measure a detector on a dataset",
    "dataset": "check the files of a dataset",
    "protocols": "list the evaluation protocols",
    "connectivity": "draw the learned graph of pictures",
}


def create_parser(command: str | None) -> argparse.ArgumentParser:
    """The parser of ``lgcn``; only the arguments of ``command`` are loaded, with what they import."""
    parser = argparse.ArgumentParser(
        prog="lgcn", description="Landmark detection with learnable-connectivity graph convolution."
    )
    parser.add_argument("--version", action="version", version=f"lgcn {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for name, summary in COMMANDS.items():
        subparser = commands.add_parser(name, help=summary, description=f"{summary.capitalize()}.")
        if name == command:
            import_module(f"lgcn.cli.{name}").add_arguments(subparser)
    return parser


def run(argv: Sequence[str]) -> int:
    """Parses ``argv`` and runs the command."""
    command = next((word for word in argv if not word.startswith("-")), None)
    if argv and argv[0] == "fit":
        # Its options come from the signatures of what it builds, help included.
        return import_module("lgcn.cli.fit").run(list(argv[1:]))
    arguments = create_parser(command).parse_args(argv)
    return import_module(f"lgcn.cli.{arguments.command}").run(arguments) or 0


def main(argv: Sequence[str] | None = None) -> int:
    """The console script ``lgcn``; returns the exit status."""
    # Of libraries that are imported; it would stand between the user and the one line that matters.
    warnings.filterwarnings("ignore", message=r".*torch\.jit.*deprecated", category=FutureWarning)
    try:
        status = run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has enough, as with `lgcn ... | head`; the interpreter must not flush into the pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except ValueError as error:
        # Imported only here because `lgcn.checks` imports torch, which `lgcn --help` need not wait for.
        from lgcn.checks import InputError

        if not isinstance(error, InputError):
            raise
        print(f"lgcn: error: {error}", file=sys.stderr)
        return 2
    return status


if __name__ == "__main__":
    sys.exit(main())
