"""The examples run as they stand, from any folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import lgcn

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run_example(name: str, folder: Path, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(lgcn.__file__).parents[1]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_skeleton_graph_learns_to_weight_visible_joints(tmp_path: Path) -> None:
    printed = run_example("skeleton_graph.py", tmp_path)
    losses = [float(each) for each in re.findall(r"mean squared error (\S+)", printed)]
    (unrefined,) = (float(each) for each in re.findall(r"error of the measurements: (\S+)", printed))
    assert len(losses) == 5
    assert losses[0] > losses[1] > losses[-1]
    assert losses[-1] < 0.6 * unrefined
    seen, hidden = (float(each) for each in re.findall(r"with (?:weight )?(\d\.\d+)", printed))
    assert seen > 1.5 * hidden
