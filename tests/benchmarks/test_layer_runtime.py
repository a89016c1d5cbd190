"""The layer benchmark measures every candidate in both modes, and all agree with the literal transcription."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.backends import HAS_TORCH_SCATTER
from benchmarks.layer_runtime import exponent, growth, target_grid
from benchmarks.targets import GAUSSIAN, compare_with_targets

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks/layer_runtime.py"
ONE_CALL = ["--repeats", "1", "--seconds", "0", "--warm-up", "0"]
SMALL = ["-K", "4", "-B", "2", *ONE_CALL, "--threads", "1", "--backend", "eager"]
BOTH_MODES = {"literal", "LGCN", "DenseLGCN", "DenseLGCN compiled"}
INFERENCE_ONLY = {"DenseLGCN for_inference", "DenseLGCN for_inference compiled", "ONNX Runtime"}
INFERENCE_ONLY |= {"DenseLGCNConv for_inference", "DenseLGCNConv for_inference compiled"}
WITH_SCATTER = {"literal + torch-scatter", "LGCN + torch-scatter"}
OURS = {"DenseLGCNConv", "LGCNConv", "DenseLGCNConv compiled"}
OTHERS = {"MultiheadAttention", "DenseGCNConv", "GCNConv", "GraphConv", "GATv2Conv", "TransformerConv", "EdgeConv"}
OTHERS |= {"MultiheadAttention compiled", "TransformerConv compiled"}
GAUSSIAN_ROWS = {"FactorAnalysisConv", "GaussianRefiner", "DenseFactorAnalysisConv, covariances", *GAUSSIAN}


def test_every_candidate_is_measured_and_agrees(tmp_path: Path) -> None:
    output = tmp_path / "figures.json"
    command = [sys.executable, str(SCRIPT), *SMALL, "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": ""})
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [output.name]
    figures = json.loads(output.read_text())

    assert figures["settings"]["landmarks"] == [4] and figures["settings"]["images"] == [2]
    assert figures["complete"] and 0 <= figures["others_share"] <= 1
    assert "output" not in figures["settings"]  # no local paths in published files
    described = figures["environment"]
    assert described["threads"] == 1 and described["cpu"]
    assert {"torch", "torch_geometric", "onnxruntime", "python", "lgcn", "commit", "load_average"} <= described.keys()

    rows = {(row["mode"], row["candidate"]): row for row in figures["results"]}
    left_out = {(row["mode"], row["candidate"]): row["reason"] for row in figures["left_out"]}
    assert len(rows) == len(figures["results"]) == done.stdout.count("\n") - 1
    both = BOTH_MODES | WITH_SCATTER | OURS | OTHERS | GAUSSIAN_ROWS
    assert rows.keys() | left_out.keys() == {
        *(("inference", name) for name in both | INFERENCE_ONLY),
        *(("training", name) for name in both),
    }
    # Only candidates that cannot run here are left out.
    assert {name for _, name in left_out} <= {*WITH_SCATTER, "ONNX Runtime"}
    assert all(reason.startswith(("not installed: ", "export failed: ")) for reason in left_out.values())
    assert not HAS_TORCH_SCATTER or not WITH_SCATTER & {name for _, name in left_out}

    for (_, name), row in rows.items():
        low, high = row["quartiles_s"]
        assert 0 < low <= row["median_s"] <= high and row["calls"] == 1
        assert ("peak_bytes" in row) == (name != "ONNX Runtime") != ("resident_peak_bytes" in row)
        assert row.get("peak_bytes", 1) > 0
        ratio = row["literal_over_this" if row["group"] == "network" else "this_over_dense_lgcn_conv"]
        assert ratio > 0
        assert ("graphs_compiled" in row) == ("compiled" in name)
        assert row.get("graphs_compiled", 1) == 1
        if name in OTHERS | GAUSSIAN_ROWS:
            assert "agrees" not in row
        else:
            assert row["agrees"] and row["max_abs_difference"] < 1e-4
        # Modules for inference keep the table [32, 4, 4] and little else; the others keep nothing.
        if name != "ONNX Runtime":
            assert 32 * 4 * 4 * 4 < row["kept_bytes"] < 2e5 if name in INFERENCE_ONLY else not row.get("kept_bytes")
    for mode in ("inference", "training"):
        assert rows[mode, "literal"]["literal_over_this"] == 1
        assert rows[mode, "literal"]["peak_bytes"] >= 2 * 4 * 3 * (4 * 2) * 4  # at least the pairs of one-hot types

    agreed = {(row["mode"], row["candidate"]): row for row in figures["agreement"]}
    assert {name for _, name in agreed} == {"literal", "LGCN", "DenseLGCN", "DenseLGCN for_inference"}
    assert all(row["dtype"] == "float64" and row["agrees"] for row in agreed.values())
    assert all(row["max_abs_difference"] < 1e-10 for row in agreed.values())
    assert figures["growth"] == []  # one K has no slope


def test_growth_is_the_slope_of_log_time_over_log_k() -> None:
    assert exponent([(2, 3 * 2**2.0), (5, 3 * 5**2.0), (7, 3 * 7**2.0)]) == pytest.approx(2)
    # One point above a line moves a least squares slope by its leverage: log x are -1, 0, 1 and log y 0, 0, 1.
    assert exponent([(math.exp(-1), 1), (1, 1), (math.e, math.e)]) == pytest.approx(0.5)  # type: ignore[list-item]
    rows = [
        {"group": "layer", "candidate": name, "mode": "inference", "images": 8, "landmarks": k, "median_s": k**power}
        for name, power, sizes in (("quadratic", 2, (4, 8, 16)), ("two places", 1, (4, 8)))
        for k in sizes
    ]
    (fitted,) = growth(rows)
    assert fitted["candidate"] == "quadratic" and fitted["landmarks"] == [4, 8, 16]
    assert fitted["exponent"] == pytest.approx(2) and fitted["exponent_at_the_end"] == pytest.approx(2)


def test_target_grid_measures_every_target() -> None:
    cells = target_grid()
    rows = [
        {
            "group": cell.group,
            "candidate": name,
            "mode": mode,
            "landmarks": cell.landmarks,
            "images": cell.images,
            "literal_over_this": 2.0,
            "median_s": 1.0,
            "peak_bytes": 10,
            "max_relative_difference": 0.0,
        }
        for cell in cells
        for mode in cell.modes
        for name in cell.names or ()
    ]
    runtime = {"results": rows, "agreement": rows, "settings": {"backend": "inductor"}}
    assert all(target.measured is not None for target in compare_with_targets(runtime))
    names = {name for cell in cells for name in cell.names or ()}
    assert names - {"DenseLGCN AOTInductor"} <= BOTH_MODES | INFERENCE_ONLY | GAUSSIAN_ROWS
    assert {cell[:2] for cell in cells} == {(98, 1), (98, 32), (478, 8)}
