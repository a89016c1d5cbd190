"""The benchmark runs, measures every candidate in both modes, and finds that they agree."""

import argparse
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import layer_runtime
from benchmarks.backends import HAS_TORCH_SCATTER
from benchmarks.layer_runtime import Cell, exponent, growth, measure, over_processes, quick_grid

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks/layer_runtime.py"
ONE_CALL = ["--repeats", "1", "--seconds", "0", "--warm-up", "0"]
SMALL = ["-K", "4", "-B", "2", *ONE_CALL, "--threads", "1", "--backend", "eager"]
EVERYWHERE = {"literal", "LGCN sparse", "LGCN dense", "LGCN compiled"}
INFERENCE_ONLY = {"LGCN dense frozen", "LGCN frozen compiled", "ONNX Runtime"}
INFERENCE_ONLY |= {"DenseLGCNConv frozen", "DenseLGCNConv frozen compiled"}
WITH_SCATTER = {"literal + torch-scatter", "LGCN sparse + torch-scatter"}
OURS = {"DenseLGCNConv", "LGCNConv", "DenseLGCNConv compiled"}
OTHERS = {"MultiheadAttention", "DenseGCNConv", "GCNConv", "GraphConv", "GATv2Conv", "TransformerConv", "EdgeConv"}
OTHERS |= {"MultiheadAttention compiled", "TransformerConv compiled"}


def test_every_candidate_is_measured_and_agrees(tmp_path: Path) -> None:
    output = tmp_path / "figures.json"
    command = [sys.executable, str(SCRIPT), *SMALL, "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": ""})
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [output.name]
    figures = json.loads(output.read_text())

    assert figures["settings"]["landmarks"] == [4] and figures["settings"]["images"] == [2]
    assert figures["complete"] and 0 <= figures["others_share"] <= 1
    assert "output" not in figures["settings"]  # nobody's folders go into what is published
    described = figures["environment"]
    assert described["threads"] == 1 and described["cpu"]
    assert {"torch", "torch_geometric", "onnxruntime", "python", "lgcn", "commit", "load_average"} <= described.keys()

    rows = {(row["mode"], row["candidate"]): row for row in figures["results"]}
    left_out = {(row["mode"], row["candidate"]): row["why"] for row in figures["left_out"]}
    assert len(rows) == len(figures["results"]) == done.stdout.count("\n") - 1
    both = EVERYWHERE | WITH_SCATTER | OURS | OTHERS
    assert rows.keys() | left_out.keys() == {
        *(("inference", name) for name in both | INFERENCE_ONLY),
        *(("training", name) for name in both),
    }
    # Only what cannot run here is left out, with the reason.
    assert {name for _, name in left_out} <= {*WITH_SCATTER, "ONNX Runtime"}
    assert all(why.startswith(("not installed: ", "export failed: ")) for why in left_out.values())
    assert not HAS_TORCH_SCATTER or not WITH_SCATTER & {name for _, name in left_out}

    for (mode, name), row in rows.items():
        low, high = row["quartiles_s"]
        assert 0 < low <= row["median_s"] <= high and row["calls"] == 1
        assert ("peak_bytes" in row) == (name != "ONNX Runtime") != ("resident_peak_bytes" in row)
        assert row.get("peak_bytes", 1) > 0
        ratio = row["literal_over_this" if row["group"] == "network" else "this_over_dense_lgcn_conv"]
        assert ratio > 0
        assert ("graphs_compiled" in row) == ("compiled" in name)
        assert row.get("graphs_compiled", 1) == 1
        if name in OTHERS:
            assert "agrees" not in row
        else:
            assert row["agrees"] and row["max_abs_difference"] < 1e-4
        # The table [32, 4, 4] that is there between calls, where the parameters alone are not enough.
        eager = {"LGCN sparse", "LGCN dense", "DenseLGCNConv", "LGCNConv"}
        keeps = mode == "inference" and name in eager | INFERENCE_ONLY
        if name != "ONNX Runtime" and name not in WITH_SCATTER:
            table = 32 * 4 * 4 * 4 if keeps else 0
            kept = row.get("kept_bytes", 0)
            assert table < kept < 2e5 if name in INFERENCE_ONLY else kept == table  # frozen: the layers' weights too
    for mode in ("inference", "training"):
        assert rows[mode, "literal"]["literal_over_this"] == 1
        assert rows[mode, "literal"]["peak_bytes"] >= 2 * 4 * 3 * (4 * 2) * 4  # at least the pairs of one-hot types

    agreed = {(row["mode"], row["candidate"]): row for row in figures["agreement"]}
    assert {name for _, name in agreed} == {"literal", "LGCN sparse", "LGCN dense", "LGCN dense frozen"}
    assert all(row["dtype"] == "float64" and row["agrees"] for row in agreed.values())
    assert all(row["max_abs_difference"] < 1e-10 for row in agreed.values())
    assert figures["growth"] == []  # one K has no slope


def test_growth_is_the_slope_on_double_logarithmic_paper() -> None:
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


def test_of_several_processes_the_middle_counts() -> None:
    place = {"group": "network", "candidate": "LGCN dense", "mode": "inference", "landmarks": 98, "images": 1}
    rows = [
        {**place, "median_s": median, "calls": calls, "literal_over_this": ratio, "max_abs_difference": 0.1 / ratio}
        for median, calls, ratio in ((3.0, 30, 5.0), (1.0, 10, 4.0), (2.0, 20, 9.0))
    ]
    alone = {**place, "landmarks": 17, "median_s": 1.0, "agrees": True}
    first, merged = over_processes([*rows, alone])
    assert first == alone
    assert merged["median_s"] == 2 and merged["calls"] == 20 and merged["literal_over_this"] == 5
    assert merged["max_abs_difference"] == 0.1 / 4 and merged["medians_s"] == [3, 1, 2]
    assert not over_processes([{**alone, "agrees": agrees} for agrees in (True, False, True)])[0]["agrees"]


def test_what_is_noisy_is_measured_in_several_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_runtime, "NOISY", (4, 2))
    args = argparse.Namespace(landmarks=[4], images=[1, 2], threads=1, seed=0, backend="none", full=False, processes=2)
    vars(args).update(repeats=1, seconds=0.0, warm_up=0.0, patience=1.0, output=tmp_path / "figures.json")
    names = ("literal", "LGCN dense")
    figures = measure(args, [Cell(4, images, "network", ("inference",), names) for images in (1, 2)])
    processes = {(row["images"], row["candidate"]): len(row.get("medians_s", [0])) for row in figures["results"]}
    assert processes == {(images, name): images for images in (1, 2) for name in names}
    assert len(figures["agreement"]) == len({(row["candidate"], row["mode"]) for row in figures["agreement"]}) > 0


def test_quick_grid_has_what_the_goals_are_about() -> None:
    places = {(cell.landmarks, cell.images, cell.group) for cell in quick_grid()}
    assert {(98, 1, "network"), (98, 32, "network"), (98, 32, "layer"), (478, 8, "network")} <= places
    names = {name for cell in quick_grid() for name in cell.names or ()} - {"LGCN ahead of time"}
    assert names <= EVERYWHERE | INFERENCE_ONLY | WITH_SCATTER | OURS | OTHERS
    assert {"GATv2Conv", "TransformerConv", "MultiheadAttention"} <= names
