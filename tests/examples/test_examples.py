"""The examples run as they stand, from any folder."""

import re
from pathlib import Path

from tests.examples.running import run_example


def test_skeleton_graph_learns_to_weight_visible_joints(tmp_path: Path) -> None:
    printed = run_example("skeleton_graph.py", tmp_path)
    losses = [float(each) for each in re.findall(r"mean squared error (\S+)", printed)]
    (unrefined,) = (float(each) for each in re.findall(r"error of the measurements: (\S+)", printed))
    assert len(losses) == 5
    assert losses[0] > losses[1] > losses[-1]
    assert losses[-1] < 0.6 * unrefined
    seen, hidden = (float(each) for each in re.findall(r"with (?:weight )?(\d\.\d+)", printed))
    assert seen > 1.5 * hidden
