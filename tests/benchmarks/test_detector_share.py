"""The share of the graph part is measured within the detector, for every refiner."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

from benchmarks.detector_share import calibrate

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks/detector_share.py"
SMALL = ["-B", "1", "--backbone", "hrnet_w18", "--size", "32", "--repeats", "2", "--seconds", "0", "--threads", "1"]


def test_share_of_the_graph_part(tmp_path: Path) -> None:
    output = tmp_path / "figures.json"
    command = [sys.executable, str(SCRIPT), *SMALL, "--backend", "none", "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": ""})
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(output.read_text())
    assert figures["network"] == {"landmarks": 98, "feature_channels": 270, "feature_cells": [8, 8]}
    assert [row["refiner"] for row in figures["results"]] == ["eager", "for_inference", "GaussianRefiner"]
    for row in figures["results"]:
        assert row.get("agrees", row["refiner"] == "GaussianRefiner") and row["calls"] == 2
        assert 0 < row["graph_s"] < row["detector_s"]
        assert 0 < row["share"] < 1
    assert [row["part"] for row in figures["parts"]] == ["features", "edges", "layers", "all"]


def test_calibrated_features_have_moderate_values() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    images = 1e3 * torch.randn(2, 3, 8, 8) + 5e3
    assert net(images).abs().max() > 1e2
    calibrate(net, images)
    assert not net[1].training
    assert net(images).abs().max() < 10
