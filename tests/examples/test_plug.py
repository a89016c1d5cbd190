"""The examples of plugging into other models run as they stand."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lgcn

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run_example(name: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(EXAMPLES / name)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(lgcn.__file__).parents[1]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_points_only(tmp_path: Path) -> None:
    printed = run_example("refine_points.py", tmp_path)
    numbers = re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?= %| hands| on average)", printed)
    found, refined, expected, filled, swapped, others = map(float, numbers)
    assert refined < 0.7 * found and expected == pytest.approx(refined, rel=0.3)
    assert filled < 1.5 * found
    assert swapped > 3 * others


@pytest.mark.skipif("LGCN_FULL_TEST" not in os.environ, reason="takes a minute; LGCN_FULL_TEST=1 runs it")
def test_keypoint_rcnn(tmp_path: Path) -> None:
    printed = run_example("keypoint_rcnn.py", tmp_path)
    assert printed.count("features [17, 512]") == 2
    assert printed.count(", 17, 2], ") == 2


def test_vitpose(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    printed = run_example("vitpose.py", tmp_path)
    losses = [float(each) for each in re.findall(r"refined (\S+) px", printed)]
    assert len(losses) == 4 and losses[-1] < 0.8 * losses[0]
