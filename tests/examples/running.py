"""Runs an example as a script, with the package that is tested."""

import os
import subprocess
import sys
from pathlib import Path

import lgcn

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run_example(name: str, folder: Path, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(EXAMPLES / name), *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(lgcn.__file__).parents[1]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
