"""Pages and plots show what the JSON holds: targets reached and missed, slower layers too."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks.render_docs import (
    BEGIN,
    END,
    ROOT,
    ablation_block,
    ablation_tables,
    benchmark_tables,
    insert,
    main,
    read,
    reformulation_block,
    targets_block,
)
from benchmarks.run_all import commands
from benchmarks.tables import table
from benchmarks.targets import Target, compare_with_targets, times

ENVIRONMENT = {
    "time": "2026-01-02T03:04:05+00:00",
    "cpu": "A processor",
    "cpu_capability": "AVX2",
    "cores": 2,
    "threads": 2,
    "caches": {"L2": 1 << 20},
    "memory_bytes": 1 << 34,
    "load_average": [0.1, 0.2, 0.3],
    "python": "3.11",
    "torch": "2.14",
    "torch_geometric": "2.8",
    "onnxruntime": None,
    "torch_scatter": None,
    "lgcn": "0.1",
    "commit": "0123456789abcdef",
    "uncommitted_changes": False,
}


def timed(group: str, candidate: str, mode: str, landmarks: int, images: int, seconds: float, ratio: float) -> Any:
    key = "literal_over_this" if group == "network" else "this_over_dense_lgcn_conv"
    what = {"group": group, "candidate": candidate, "mode": mode, "landmarks": landmarks, "images": images}
    held = {"peak_bytes": round(1e9 * seconds), "kept_bytes": 0}
    return {**what, "median_s": seconds, "quartiles_s": [seconds, seconds], "calls": 3, **held, key: ratio}


@pytest.fixture
def figures() -> dict[str, Any]:
    rows = []
    for mode in ("inference", "training"):
        for images in (1, 32):
            rows += [
                timed("network", "literal", mode, 98, images, 0.5, 1),
                timed("network", "literal + torch-scatter", mode, 98, images, 0.25, 2),
                timed("network", "LGCN", mode, 98, images, 0.1, 5),
                timed("network", "DenseLGCN", mode, 98, images, 0.02, 25),
                timed("layer", "DenseLGCNConv", mode, 98, images, 0.01, 1),
                timed("layer", "DenseLGCNConv for_inference", mode, 98, images, 0.008, 0.8),
                timed("layer", "DenseLGCNConv compiled", mode, 98, images, 0.005, 0.5),
                timed("layer", "TransformerConv compiled", mode, 98, images, 0.2, 20),
                timed("layer", "GATv2Conv", mode, 98, images, 0.5, 50),
                timed("layer", "TransformerConv", mode, 98, images, 0.3, 30),
                timed("layer", "MultiheadAttention", mode, 98, images, 0.005, 0.5),
            ]
    for row in rows:
        row |= {"max_abs_difference": 1e-6, "max_relative_difference": 1e-6, "agrees": True}
        if row["candidate"] == "DenseLGCN":
            row["kept_bytes"] = 5_000_000
    left_out = [{"candidate": "ONNX Runtime", "landmarks": 98, "images": 1, "reason": "not installed: onnx"}]
    settings = {"landmarks": [98], "images": [1, 32], "backend": "none"}
    growth = [
        {
            "group": "network",
            "candidate": "DenseLGCN",
            "mode": "inference",
            "images": 32,
            "landmarks": [17, 68, 98],
            "exponent": 1.234,
            "exponent_at_the_end": 1.9,
        }
    ]
    runtime = {"results": rows, "agreement": [], "growth": growth, "left_out": left_out}
    shares = [
        {"refiner": name, "images": images, "share": share, "detector_s": 0.1, "graph_s": 0.1 * share}
        for images in (1, 32)
        for name, share in (("eager", 0.03), ("for_inference", 0.004))
    ]
    share = {
        "results": shares,
        "parts": [{"part": "edges", "images": 1, "median_s": 0.001}],
        "network": {"landmarks": 98, "feature_channels": 270, "feature_cells": [64, 64]},
        "left_out": [],
    }
    sizes = {"backbone": "hrnet_w18", "size": 256}
    return {
        "layer_runtime": {"environment": ENVIRONMENT, "settings": settings, **runtime},
        "detector_share": {"environment": ENVIRONMENT, "settings": {**settings, **sizes}, **share},
    }


def test_targets_are_compared_with_measurements(figures: dict[str, Any]) -> None:
    targets = {target.title: target for target in compare_with_targets(figures["layer_runtime"])}
    single = targets["literal / eager, inference, K = 98, B = 1"]
    assert (single.measured, single.candidate, single.verdict) == (25, "DenseLGCN", "reached")
    assert targets["literal / eager, inference, K = 98, B = 32"].verdict == "**missed**"  # 25 of 60
    assert targets["literal / compiled, inference, K = 98, B = 1"].verdict == "not measured"
    assert targets["literal / compiled, forward + backward, K = 478, B = 8"].measured is None
    memory = targets["memory of inference against literal, K = 98, B = 32"]
    assert memory.measured == 500e6 / (20e6 + 5e6)  # what is kept between calls counts
    difference = targets["largest difference from literal, float32, outputs and gradients"]
    assert difference.measured == 1e-6 and difference.verdict == "reached"


def test_only_a_backend_that_compiles_reaches_compiled_targets(figures: dict[str, Any]) -> None:
    runtime = figures["layer_runtime"]
    dense = next(row for row in runtime["results"] if row["candidate"] == "DenseLGCN")
    runtime["results"].append({**dense, "candidate": "DenseLGCN compiled"})
    title = "literal / compiled, inference, K = 98, B = 1"
    assert {target.title: target for target in compare_with_targets(runtime)}[title].measured is None
    runtime["settings"]["backend"] = "inductor"
    assert {target.title: target for target in compare_with_targets(runtime)}[title].measured == 25


@pytest.mark.parametrize(
    ("measured", "at_least", "verdict"),
    [
        (None, True, "not measured"),
        (1.9, True, "**missed**"),
        (2.0, True, "reached"),
        (2.0, False, "reached"),
        (2.1, False, "**missed**"),
    ],
)
def test_verdicts(measured: float | None, at_least: bool, verdict: str) -> None:
    assert Target("", 2, measured, "", times, at_least).verdict == verdict


def cells(page: str) -> list[list[str]]:
    """Rows of all tables of a page."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]


def test_tables_show_losses_and_skipped_candidates(figures: dict[str, Any]) -> None:
    page = benchmark_tables(figures)
    assert "A processor" in page and "`0123456789`" in page and "2026-01-02" in page
    assert "Placeholders" not in page and "Incomplete" not in page
    rows = cells(page)
    assert ["MultiheadAttention", "inference", "2 of 2", "2x (K = 98, B = 1)"] in rows  # faster than ours
    assert ["MultiheadAttention", "5 (**0.5x**)", "5 (**0.5x**)"] in rows
    assert ["literal, K = 98, B = 32, inference", "500", "250", "2x"] in rows  # torch-scatter
    assert ["ONNX Runtime", "all", "not installed: onnx"] in rows
    assert ["DenseLGCN", "-", "-", "20", "1.23", "1.90"] in rows  # growth
    assert ["for_inference, B = 32", "100.0", "0.40", "0.4 %"] in rows


def test_page_warns_of_other_processes_and_of_different_runs(figures: dict[str, Any]) -> None:
    figures["layer_runtime"] |= {"environment": {**ENVIRONMENT, "commit": "other"}, "others_share": 0.3}
    page = benchmark_tables(figures)
    assert "**Placeholders: other processes took 30 % of the machine" in page
    assert "**Not one run:** the `commit` of the scripts differ" in page


def test_page_warns_of_an_incomplete_run(figures: dict[str, Any]) -> None:
    figures["layer_runtime"]["complete"] = False
    assert "**Incomplete: the run was stopped" in benchmark_tables(figures)


def test_render(tmp_path: Path, figures: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    results, images, answer = tmp_path / "results", tmp_path / "images", tmp_path / "benchmarks.md"
    proof = tmp_path / "reformulation.md"
    results.mkdir()
    for name, content in figures.items():
        (results / f"{name}.json").write_text(json.dumps(content))
    answer.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    proof.write_text("no markers")
    monkeypatch.setattr("sys.argv", ["render_docs.py", "--results", str(results), "--docs", str(tmp_path)])
    with pytest.raises(SystemExit, match="Begin of what"):
        main()
    assert "\nold\n" in answer.read_text() and not images.exists()  # all pages or none
    proof.write_text(answer.read_text())
    assert main() == 0
    written = {path.name: path.read_text() for path in tmp_path.glob("*.md")}
    assert written.keys() == {"benchmarks.md", "benchmarks_tables.md", "reformulation.md"}  # no ablation was run
    expected = ["K = 98, B = 32, inference", "500 (1x)", "100 (5x)", "20 (25x)", "-", "500 / 20"]
    assert expected in cells(written["reformulation.md"])
    text = written["benchmarks.md"]
    assert text.startswith("before\n") and text.endswith("after\n") and "\nold\n" not in text
    assert "literal / eager, inference, K = 98, B = 1" in text
    names = ("growth", "memory", "runtime", "share")
    assert sorted(path.name for path in images.iterdir()) == [f"benchmark_{name}.png" for name in names]
    for path in images.iterdir():
        assert path.stat().st_size < 150_000 and Image.open(path).width > 600
    assert main() == 0
    assert {path.name: path.read_text() for path in tmp_path.glob("*.md")} == written  # deterministic


def test_targets_come_from_the_run_for_targets(figures: dict[str, Any]) -> None:
    newer = json.loads(json.dumps(figures["layer_runtime"]))
    newer["environment"]["commit"] = "fedcba9876543210"
    assert "`0123456789`" in targets_block(figures)
    assert "`fedcba9876`" in targets_block({**figures, "targets": newer})
    assert "`fedcba9876`" not in benchmark_tables({**figures, "targets": newer})


def test_render_needs_results_and_markers(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="layer_runtime.json"):
        read(tmp_path)
    with pytest.raises(SystemExit, match="Begin of what"):
        insert("no markers", "tables")


def test_empty_tables_are_left_out() -> None:
    assert table(["a", "b"], []) == ""
    assert table(["a", "b"], [["x", "2"]]).splitlines() == ["| a   |   b |", "|:----|----:|", "| x   |   2 |"]


def test_published_pages_are_rendered_from_the_published_json() -> None:
    figures, docs = read(ROOT / "benchmarks" / "results"), ROOT / "docs"
    for name, block in (
        ("benchmarks", targets_block(figures)),
        ("reformulation", reformulation_block(figures)),
        ("ablation", ablation_block(figures["connectivity_ablation"])),
    ):
        page = (docs / f"{name}.md").read_text(encoding="utf-8")
        assert insert(page, block) == page, name
    assert (docs / "benchmarks_tables.md").read_text(encoding="utf-8") == benchmark_tables(figures)
    expected = ablation_tables(figures["connectivity_ablation"])
    assert (docs / "ablation_tables.md").read_text(encoding="utf-8") == expected


def test_one_command_runs_every_script(tmp_path: Path) -> None:
    (targets,) = commands(True, 2, tmp_path)
    assert targets[:2] == ["layer_runtime.py", "--targets"] and targets[-1].endswith("targets.json")
    full = commands(False, 2, tmp_path)
    assert [command[0] for command in full] == ["layer_runtime.py", "detector_share.py", "roofline.py"]
    assert "--full" in full[0] and all((ROOT / "benchmarks" / command[0]).is_file() for command in full)
