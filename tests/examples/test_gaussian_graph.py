import re
from pathlib import Path

from tests.examples.running import run_example


def test_gaussian_graph_hears_what_is_measured_well(tmp_path: Path) -> None:
    printed = run_example("gaussian_graph.py", tmp_path)
    measured, posterior, expected, unseen, mean = (float(each) for each in re.findall(r"(\d\.\d{3}) m", printed))
    assert posterior < 0.5 * measured
    assert 0.8 * expected < posterior < 1.2 * expected
    assert unseen < 0.2 * mean
