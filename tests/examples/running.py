"""Runs an example as a script, with the package that is tested."""

from pathlib import Path

from tests.scripts import run_script

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run_example(name: str, folder: Path, *options: str) -> str:
    return run_script(EXAMPLES / name, folder, *options)
