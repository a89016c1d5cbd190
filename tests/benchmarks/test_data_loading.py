"""The data loading benchmark runs with a tiny network, and its results are consistent."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks/data_loading.py"
SMALL = ["--images", "6", "--size", "48", "64", "-w", "1", "--batches", "2", "--repeats", "1", "--seconds", "0"]
CONFIG = """
model:
  detector:
    backbone: test_efficientnet
    input_size: [32, 32]
    backbone_options: {head: pyramid, width: 8}
    refiner: {hidden_channels: [8]}
  loss: {heatmap: cross_entropy}
trainer: {accelerator: cpu}
"""


def test_every_rate_is_measured(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    output = tmp_path / "figures.json"
    command = [sys.executable, str(SCRIPT), "--config", str(tmp_path / "tiny.yaml"), *SMALL, "--threads", "1"]
    done = subprocess.run(
        [*command, "--output", str(output), "--data.batch_size", "2"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.yaml", "figures.json"}
    figures = json.loads(output.read_text())

    results = figures["results"]
    assert list(results) == ["read", "worker", "loader, 1 worker", "step"]
    assert all(result["images_per_s"] > 0 for result in results.values())
    for name in ("read", "worker", "step"):
        low, high = results[name]["quartiles"]
        assert low <= results[name]["images_per_s"] <= high
    rate = results["step"]["images_per_s"] / results["worker"]["images_per_s"]
    assert figures["workers_needed"] == pytest.approx(rate)
    assert figures["settings"]["root"] == "synthetic"
    assert figures["settings"]["of_fit"] == ["--data.batch_size", "2"]
    assert figures["pipeline"]["batch_size"] == 2
    assert figures["pipeline"]["input_size"] == [32, 32]
    assert {"torch", "lgcn", "cpu", "load_average"} <= figures["environment"].keys()
    table = done.stdout.splitlines()
    assert [line[:24].strip() for line in table[1:5]] == list(results)
    assert table[5].startswith("Workers needed to keep one such device busy: ")
