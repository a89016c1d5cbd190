"""Runs scripts, each in a process of its own that has the libraries already: most would import longer than they run."""

import multiprocessing
import os
import runpy
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import lgcn

ROOT = str(Path(__file__).resolve().parents[1])

# The server that forks a process for each script imports these, once for each process of pytest.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["lgcn.models", "lgcn.predict", "lgcn.training", "lgcn.evaluation", "onnxruntime"])
ENVIRONMENT = {
    "PYTHONPATH": str(Path(lgcn.__file__).parents[1]),
    "OMP_NUM_THREADS": "1",
    "MPLBACKEND": "agg",
}
"""What a script finds in its environment besides what is there."""


def run_script(script: Path, folder: Path, *arguments: str) -> str:
    """What ``python script arguments`` prints in a folder."""
    with TemporaryDirectory() as kept:
        printed = [Path(kept) / stream for stream in ("stdout", "stderr")]
        for path in printed:
            path.touch()
        process = _CONTEXT.Process(target=_execute, args=(script.resolve(), folder, arguments, printed))
        # The environment is read when the server starts, the path by each process: this module must be found there.
        with patch.dict(os.environ, ENVIRONMENT), patch.object(sys, "path", [*sys.path, ROOT]):
            process.start()
        process.join()
        out, errors = (path.read_text(encoding="utf-8") for path in printed)
    assert process.exitcode == 0, errors
    return out


def _execute(script: Path, folder: Path, arguments: tuple[str, ...], printed: list[Path]) -> None:
    sys.path.remove(ROOT)
    multiprocessing.set_start_method(None, force=True)  # its own default, as in a process that was not forked
    os.chdir(folder)
    for stream, path in zip((sys.stdout, sys.stderr), printed, strict=True):
        file = os.open(path, os.O_WRONLY)
        os.dup2(file, stream.fileno())  # for processes of its own too
    if not sys.flags.safe_path:
        sys.path.insert(0, str(script.parent))
    sys.argv = [str(script), *arguments]
    runpy.run_path(str(script), run_name="__main__")
