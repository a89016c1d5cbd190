"""Two tiny networks through all stages on faces of noise; a second call computes nothing."""

import json
from pathlib import Path

import pytest

from benchmarks import other_backbones
from benchmarks.other_backbones import Network, main, table
from tests.datasets.synthetic import pts_tree


def test_all_stages_and_a_resumed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = {"hourglass": Network("hourglass", "hourglass", {"num_stacks": 2, "width": 8, "depth": 2})}
    tiny["vit"] = Network("ViT", "test_vit", {"width": 8})
    monkeypatch.setattr(other_backbones, "NETWORKS", tiny)
    pts_tree(tmp_path / "300w", "afw", 24)
    pts_tree(tmp_path / "300w", "lfpw/testset", 2, first=24)
    output = tmp_path / "figures.json"
    argv = ["--root", str(tmp_path / "300w"), "--work", str(tmp_path / "work"), "--output", str(output)]
    argv += ["--networks", *tiny, "--seeds", "0", "--epochs", "1", "--side", "32", "--rounds", "2", "--steps", "3"]
    argv += ["--workers", "0", "--fit", "--data.val_fraction", "0.1"]
    argv += ["--trainer.limit_train_batches", "1", "--trainer.num_sanity_val_steps", "0"]
    assert main(argv) == 0
    runs = json.loads(output.read_text())["runs"]
    assert [run["network"] for run in runs] == list(tiny)
    assert all(run["patch 40 %"][when] > 0 for run in runs for when in ("before", "after"))
    assert len(runs[0]["losses"]) == 10

    monkeypatch.setattr(other_backbones, "measure", None)
    capsys.readouterr()
    assert main(argv) == 0
    assert "| ViT (1) |" in capsys.readouterr().out


def test_the_table_has_means_and_spreads() -> None:
    def run(seed: int, after: float) -> dict:
        found = {"before": 5.0, "after": after}
        return {"network": "vit", "seed": seed, "clean": found, "patch 40 %": found}

    row = table([run(0, 4.0), run(1, 4.2)]).splitlines()[-1]
    assert "(2) | 5.000 ± 0.000 | 4.100 ± 0.141 | 0.900 ± 0.141 |" in row
