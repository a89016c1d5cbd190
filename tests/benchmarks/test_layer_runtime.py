"""The benchmark runs, measures every candidate in both modes, and finds that they agree."""

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks/layer_runtime.py"
SMALL = ["-K", "4", "-B", "2", "--repeats", "1", "--seconds", "0", "--threads", "1", "--backend", "eager"]
NETWORKS = {"literal", "LGCN sparse", "LGCN dense", "LGCN compiled"}
OURS = {"DenseLGCNConv", "LGCNConv"}
OTHERS = {"MultiheadAttention", "DenseGCNConv", "GCNConv", "GraphConv", "GATv2Conv", "TransformerConv", "EdgeConv"}


def test_every_candidate_is_measured_and_agrees(tmp_path: Path) -> None:
    output = tmp_path / "figures.json"
    command = [sys.executable, str(SCRIPT), *SMALL, "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": ""})
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [output.name]
    figures = json.loads(output.read_text())

    assert figures["settings"]["landmarks"] == [4] and figures["settings"]["images"] == [2]
    described = figures["environment"]
    assert described["threads"] == 1 and described["cpu"]
    assert {"torch", "torch_geometric", "python", "lgcn", "commit", "load_average"} <= described.keys()
    assert figures["left_out"] == []

    rows = {(row["mode"], row["candidate"]): row for row in figures["results"]}
    assert len(rows) == len(figures["results"]) == done.stdout.count("\n") - 1
    assert set(rows) == {(mode, name) for mode in ("inference", "training") for name in NETWORKS | OURS | OTHERS}
    for (_, name), row in rows.items():
        low, high = row["quartiles_s"]
        assert 0 < low <= row["median_s"] <= high and row["calls"] == 1
        assert row["peak_bytes"] > 0
        ratio = row["literal_over_this"] if name in NETWORKS else row["this_over_dense_lgcn_conv"]
        assert ratio > 0
        if name in OTHERS:
            assert "agrees" not in row
        else:
            assert row["agrees"] and row["max_abs_difference"] < 1e-4
    for mode in ("inference", "training"):
        assert rows[mode, "literal"]["literal_over_this"] == 1
        assert rows[mode, "literal"]["peak_bytes"] >= 2 * 4 * 3 * (4 * 2) * 4  # at least the pairs of one-hot types
