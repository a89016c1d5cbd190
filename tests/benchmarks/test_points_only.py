"""All stages with a predictor that knows the faces but for its errors; a second call predicts nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import points_only
from benchmarks.points_only import TRUST, box_around, main, nme, restarted, row
from lgcn.datasets import IBUG300W
from tests.datasets.synthetic import pts_tree

FACES = 40


def test_all_stages_and_a_repeated_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, work, output = tmp_path / "300w", tmp_path / "work", tmp_path / "figures.json"
    pts_tree(root, "afw", FACES)
    pts_tree(root, "lfpw/testset", 4, first=FACES)
    mean = torch.cat([IBUG300W(root, split).pos for split in points_only.SPLITS.values()]).mean(0).numpy()
    random = np.random.default_rng(0)
    monkeypatch.setitem(
        points_only.PEERS, "dlib", lambda weights: lambda image, box: mean + random.normal(size=mean.shape)
    )
    monkeypatch.setattr(points_only, "find_boxes", lambda images, shapes: (np.array([[0.0, 0, 9, 9]] * len(images)), 1))
    argv = ["--root", str(root), "--work", str(work), "--peer", "dlib", "--weights", str(tmp_path)]
    argv += ["--output", str(output)]
    assert main(argv) == 0
    rows = json.loads(output.read_text())["rows"]
    assert [each["part"] for each in rows] == ["held out"] * 7 + ["test"] * 7
    assert all(np.isfinite(each["nme_percent"]) for each in rows)

    monkeypatch.setattr(points_only, "predict_all", None)
    assert main(argv) == 0
    assert [each["nme_percent"] for each in json.loads(output.read_text())["rows"]] == [
        each["nme_percent"] for each in rows
    ]
    assert "restarts, spread as confidence, refined" in capsys.readouterr().out


def test_restarts_count_the_more_the_farther_they_move_a_face() -> None:
    random = np.random.default_rng(0)
    first = torch.tensor(100 * random.normal(size=(2, 68, 2)), dtype=torch.float32)
    radius = (first - first.mean(1, keepdim=True)).square().sum(-1).mean(1).sqrt()
    move = torch.tensor([0.01 * TRUST, 1.0]) * radius
    runs = torch.stack([first, first, *[first + torch.stack([move, torch.zeros(2)], -1).unsqueeze(1)] * 4], dim=1)
    followed = (restarted(runs).pos - first).norm(dim=-1).mean(1) / move
    assert followed[0] < 1e-3 and followed[1] > 0.99
    move = TRUST * radius
    runs[:, 2:] = (first + torch.stack([move, torch.zeros(2)], -1).unsqueeze(1)).unsqueeze(1)
    torch.testing.assert_close((restarted(runs).pos - first).norm(dim=-1).mean(1) / move, torch.full((2,), 0.5))


def test_the_box_around_points_moves_and_grows_with_them() -> None:
    points = np.random.default_rng(0).normal(size=(68, 2))
    box = box_around(points)
    np.testing.assert_allclose(box_around(3 * points + 7), 3 * box + 7)
    assert box[2] - box[0] == pytest.approx(box[3] - box[1])


def test_a_row_counts_the_faces_that_are_worse() -> None:
    data = {"shapes": torch.zeros(4, 2, 2), "eyes": torch.full((4,), 50.0)}
    before = nme(torch.tensor([3.0, 4.0]).expand(4, 2, 2), data)
    assert before.tolist() == pytest.approx([10.0] * 4)
    figures = row("a", before, torch.tensor([9.0, 10.05, 10.2, 8.0]))
    assert figures["worse_faces_percent"] == 25.0
    assert figures["gain_percent"] == pytest.approx(100 * (1 - 9.3125 / 10), abs=1e-4)
