"""The page says what the JSON says: goals reached and missed, losses too, and the plots are there."""

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks.report import BEGIN, END, commands_of, insert, main, read
from PIL import Image

from benchmarks.sections import document
from benchmarks.tables import spread, table
from benchmarks.targets import Goal, goals, times

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
                timed("network", "LGCN sparse", mode, 98, images, 0.1, 5),
                timed("network", "LGCN dense", mode, 98, images, 0.02, 25),
                timed("layer", "DenseLGCNConv", mode, 98, images, 0.01, 1),
                timed("layer", "DenseLGCNConv frozen", mode, 98, images, 0.008, 0.8),
                timed("layer", "DenseLGCNConv compiled", mode, 98, images, 0.005, 0.5),
                timed("layer", "TransformerConv compiled", mode, 98, images, 0.2, 20),
                timed("layer", "GATv2Conv", mode, 98, images, 0.5, 50),
                timed("layer", "TransformerConv", mode, 98, images, 0.3, 30),
                timed("layer", "MultiheadAttention", mode, 98, images, 0.005, 0.5),
            ]
    for row in rows:
        row |= {"max_abs_difference": 1e-6, "max_relative_difference": 1e-6, "agrees": True}
        if row["candidate"] == "LGCN dense":
            row["kept_bytes"] = 5_000_000
    left_out = [{"candidate": "ONNX Runtime", "landmarks": 98, "images": 1, "why": "not installed: onnx"}]
    settings = {"quick": True, "full": False, "landmarks": [98], "images": [1, 32], "backend": "none"}
    settings |= {"repeats": 3, "seconds": 0.0}
    growth = [
        {
            "group": "network",
            "candidate": "LGCN dense",
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
        for name, share in (("eager", 0.03), ("frozen", 0.004))
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


def test_goals_are_read_off_the_figures(figures: dict[str, Any]) -> None:
    found = {goal.figure: goal for goal in goals(figures)}
    once = found["literal / eager dense, inference, K = 98, B = 1"]
    assert (once.measured, once.of, once.verdict) == (25, "LGCN dense", "aim reached")
    assert found["literal / eager dense, inference, K = 98, B = 32"].verdict == "**missed**"  # 25 of 60
    assert found["literal / best, forward + backward, K = 98, B = 32"].verdict == "reached, aim missed"
    assert found["literal / compiled, inference, K = 98, B = 1"].verdict == "not measured"
    assert found["literal / best, inference, K = 478, B = 8"].measured is None
    (memory,) = (goal for goal in found.values() if "extra memory" in goal.figure)
    assert memory.measured == 500e6 / (20e6 + 5e6)  # the kept table counts
    where = ", inference, K = 98, B = 32"
    rival = found[f"fastest attention-like PyG convolution / `DenseLGCNConv`{where}"]
    assert (rival.measured, rival.of, rival.verdict) == (30 / 0.8, "TransformerConv", "reached")
    assert found[f"`MultiheadAttention` / `DenseLGCNConv`{where}"].verdict == "aim missed"
    # Compiled: each in its fastest form, and the fastest there is of the others.
    rival = found[f"fastest attention-like PyG convolution / `DenseLGCNConv` compiled, each in its fastest form{where}"]
    assert (rival.measured, rival.of) == (40, "TransformerConv compiled")
    rival = found[f"`MultiheadAttention` / `DenseLGCNConv` compiled, each in its fastest form{where}"]
    assert (rival.measured, rival.of, rival.verdict) == (1, "MultiheadAttention", "aim reached")
    share = found["graph part's share of the HRNet-W18 detector, B = 32"]
    assert (share.measured, share.of, share.verdict) == (0.004, "frozen", "aim reached")
    apart = found["largest difference from the literal version, float32, outputs and gradients"]
    assert apart.measured == 1e-6 and apart.verdict == "reached"


@pytest.mark.parametrize(
    ("measured", "at_least", "verdict"),
    [
        (None, True, "not measured"),
        (1.9, True, "**missed**"),
        (2.0, True, "reached, aim missed"),
        (5.0, True, "aim reached"),
        (5.1, False, "**missed**"),
    ],
)
def test_verdicts(measured: float | None, at_least: bool, verdict: str) -> None:
    must, aim = (2, 5) if at_least else (5, 2)
    assert Goal("", must, aim, measured, "", times, at_least).verdict == verdict


def test_page_shows_hits_misses_and_losses(figures: dict[str, Any]) -> None:
    page = document(figures, ["a command"])
    assert "`a command`" in page and "A processor" in page and "`0123456789`" in page and "2026-01-02" in page
    assert "Placeholders" not in page
    assert "| MultiheadAttention | inference | 2 of 2 | 2x (K = 98, B = 1) |" in page  # faster than ours
    assert "**0.5x**" in page
    assert "| literal, K = 98, B = 32, inference | 500 | 250 | 2x |" in page  # what torch-scatter gains
    assert "| ONNX Runtime | everywhere | not installed: onnx |" in page
    assert "| LGCN dense | - | - | 20 | 1.23 | 1.90 |" in page  # growth
    assert "| frozen, B = 32 | 100.0 | 0.40 | 0.4 % |" in page
    for line in page.splitlines():
        if line.startswith("|"):
            assert line.count("|") >= 3 and line.endswith("|")


def test_ratios_of_single_processes_are_shown_beside_the_middle_one() -> None:
    place = {"group": "network", "mode": "inference", "landmarks": 98, "images": 1}
    rows = [
        {**place, "candidate": "literal", "literal_over_this": 1.0, "medians_s": [8.0, 9.0, 12.0]},
        {**place, "candidate": "LGCN dense", "literal_over_this": 9.0, "medians_s": [2.0, 1.0, 0.5]},
        {**place, "candidate": "LGCN dense", "images": 8, "literal_over_this": 5.0},
    ]
    assert spread(rows).splitlines()[2:] == ["| LGCN dense, K = 98, B = 1, inference | 4x | 9x | 24x |"]
    assert spread(rows[2:]) == ""


def test_page_says_where_something_else_was_running(figures: dict[str, Any]) -> None:
    figures["layer_runtime"] |= {"environment": {**ENVIRONMENT, "commit": "other"}, "others_share": 0.3}
    page = document(figures, [])
    assert page.startswith("**Placeholders: other processes took 30 % of the machine.")
    assert "**Not one run:** the scripts' `commit` differ." in page


def test_page_says_where_a_run_was_stopped(figures: dict[str, Any]) -> None:
    assert "Unfinished" not in document(figures, [])
    figures["layer_runtime"]["complete"] = False
    assert "**Unfinished: the run was stopped" in document(figures, [])


def test_commands() -> None:
    quick = {"settings": {"quick": True, "full": False}}
    assert commands_of({"a": quick, "b": quick}) == ["python benchmarks/report.py --quick"]
    own = {"settings": {"landmarks": [4, 5], "images": [2], "repeats": 1, "seconds": 0.0, "backend": "none"}}
    (command,) = commands_of({"layer_runtime": own})
    assert command == "python benchmarks/layer_runtime.py -K 4 5 -B 2 --repeats 1 --seconds 0.0 --backend none"


def test_report_from_json(
    tmp_path: Path, figures: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results, images, page = tmp_path / "results", tmp_path / "images", tmp_path / "benchmarks.md"
    proof = tmp_path / "reformulation.md"
    results.mkdir()
    for name, each in figures.items():
        (results / f"{name}.json").write_text(json.dumps(each))
    page.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    proof.write_text("no markers")
    arguments = ["--from-json", str(results), "--docs", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["report.py", *arguments])
    with pytest.raises(SystemExit, match="from here on"):
        main()
    assert "\nold\n" in page.read_text() and not images.exists()  # nothing by halves
    proof.write_text(page.read_text())
    assert main() == 0
    written = page.read_text()
    assert "| K = 98, B = 32, inference | 500 (1x) | 100 (5x) | 20 (25x) | - | 500 / 20 |" in proof.read_text()
    assert written.startswith("before\n") and written.endswith("after\n") and "\nold\n" not in written
    assert "### Goals" in written
    drawn = sorted(path.name for path in images.iterdir())
    names = ("growth", "memory", "runtime", "share")
    assert drawn == [f"benchmark_{name}.png" for name in names]
    for name in drawn:
        assert (images / name).stat().st_size < 150_000
        assert Image.open(images / name).width > 600
    assert main() == 0 and page.read_text() == written  # again, and nothing is added


def test_report_needs_figures_and_markers(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="layer_runtime.json"):
        read(tmp_path)
    with pytest.raises(SystemExit, match="from here on"):
        insert("no markers", "tables")


def test_goals_are_for_what_they_were_set(figures: dict[str, Any]) -> None:
    figures["detector_share"]["settings"]["size"] = 64
    dense = dict(figures["layer_runtime"]["results"][3])
    figures["layer_runtime"]["results"].append({**dense, "candidate": "LGCN compiled"})
    found = {goal.figure: goal for goal in goals(figures)}
    assert found["graph part's share of the HRNet-W18 detector, B = 1"].measured is None
    compiled = "literal / compiled, inference, K = 98, B = 1"
    assert found[compiled].measured is None  # a backend that compiles nothing
    figures["layer_runtime"]["settings"]["backend"] = "inductor"
    assert {goal.figure: goal for goal in goals(figures)}[compiled].measured == 25


def test_empty_tables_are_left_out() -> None:
    assert table(["a", "b"], []) == ""
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n|--:|--:|\n| 1 | 2 |"


@pytest.mark.parametrize("name", ["benchmarks", "reformulation"])
def test_the_pages_of_the_docs_have_markers(name: str) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / f"{name}.md"
    assert "tables" in insert(page.read_text(encoding="utf-8"), "tables")
