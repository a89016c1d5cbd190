"""A run that is killed and resumed, with the smallest network."""

import json
import os
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks.long_runs import main
from lgcn.models import create_detector

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")


def test_nothing_is_lost_or_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    create_detector(scheme="ibug68", backbone="test_efficientnet", input_size=(64, 64)).save_pretrained(tmp_path / "m")
    (tmp_path / "photos").mkdir()
    for number in range(2):
        Image.new("RGB", (60, 60), (90, 80 * number, 0)).save(tmp_path / "photos" / f"{number}.png")
    words = ["--root", tmp_path / "photos", "--images", "12", "--kills", "1", "--model", tmp_path / "m"]
    words += ["--workers", "0", "--output", tmp_path / "figures.json"]
    monkeypatch.setattr(sys, "argv", ["long_runs.py", *map(str, words)])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    assert main() == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["statuses"][-1] == 0 and len(figures["statuses"]) == 2
    assert figures["images_after_each_run"][-1] == 12
    assert all(peak > 10 for peak in figures["peak_mb_until_image"].values())
