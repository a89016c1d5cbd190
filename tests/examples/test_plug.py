"""The examples of plugging into other models run as they stand."""

import re
from pathlib import Path

import pytest

from tests.examples.running import run_example


def test_points_only(tmp_path: Path) -> None:
    printed = run_example("refine_points.py", tmp_path)
    numbers = re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?= %| hands| on average)", printed)
    found, refined, expected, filled, swapped, others = map(float, numbers)
    assert refined < 0.7 * found and expected == pytest.approx(refined, rel=0.3)
    assert filled < 1.5 * found
    assert swapped > 3 * others


@pytest.mark.slow
def test_keypoint_rcnn(tmp_path: Path) -> None:
    printed = run_example("keypoint_rcnn.py", tmp_path)
    assert printed.count("features [17, 512]") == 2
    assert printed.count(", 17, 2], ") == 2


def test_vitpose(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    printed = run_example("vitpose.py", tmp_path)
    losses = [float(each) for each in re.findall(r"refined (\S+) px", printed)]
    assert len(losses) == 4 and losses[-1] < 0.8 * losses[0]
