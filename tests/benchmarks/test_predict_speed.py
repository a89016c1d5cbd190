"""The benchmark of whole predictions runs on a few faces and writes what its page promises."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks/predict_speed.py"
SMALL = ["--faces", "3", "-B", "1", "2", "--repeats", "2", "--seconds", "0", "--threads", "1", "--no-compile"]


@pytest.mark.slow
def test_stages_runners_and_plot(shared: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    output = tmp_path / "figures.json"
    command = [sys.executable, str(SCRIPT), "--root", str(shared / "data" / "300w"), *SMALL, "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": ""})
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(output.read_text())
    assert set(figures["stages_s"]) == {"decode", "detect", "crop"} and min(figures["stages_s"].values()) > 0
    rows = {(row["runner"], row["B"]): row for row in figures["results"]}
    for size in (1, 2):
        eager, other = rows["eager", size], rows["ONNX Runtime", size]
        assert abs(eager["nme_percent"] - other["nme_percent"]) < 1e-3 < eager["nme_percent"]
        assert 0 <= other["after_network_share"] < 1
        assert rows["ONNX Runtime int8", size]["nme_percent"] < 2 * eager["nme_percent"]
    assert output.with_suffix(".png").stat().st_size > 0
