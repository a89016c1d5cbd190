import re
from pathlib import Path

import pytest
from PIL import Image

from tests.examples.running import run_example


@pytest.mark.slow
def test_failures_get_low_scores(tmp_path: Path) -> None:
    printed = run_example("draw_failures.py", tmp_path)
    scores = [float(each) for each in re.findall(r"fit (\d\.\d\d)", printed)]
    assert len(scores) == 6
    assert max(scores) < 0.9
    assert max(scores[3:]) < 0.3  # in the dark, a drawing, a cat
    assert Image.open(tmp_path / "failures.jpg").size == (1197, 891)
