import json
from pathlib import Path

import pytest
import torch

from benchmarks.synthetic_video import Conditions, synthetic_video
from benchmarks.video_smoothing import figures_of, jitter_percent, lag_frames, main
from tests.predict.spots import draw_spots

EYES = (0, 1)
POS = torch.tensor([[70.0, 80.0], [130.0, 80.0], [100.0, 110.0], [85.0, 130.0], [115.0, 130.0]])


def test_the_targets_of_a_synthetic_video_are_where_the_landmarks_are_seen() -> None:
    image = draw_spots((200, 200), POS[2:], sigma=4.0)
    conditions = Conditions(noise=0, occluder=0, mouth=0.2)
    for frame in synthetic_video(image, POS, EYES, 6, conditions, seed=1):
        light = frame.image.double().square()
        for colour, target in zip(light, frame.target[2:], strict=True):
            y, x = (colour.sum(dim=1 - axis) for axis in (0, 1))
            centre = torch.stack([(each * torch.arange(len(each))).sum() / each.sum() for each in (x, y)])
            assert (centre - target).norm() < 0.5
    assert (frame.target - POS).norm(dim=-1).min() > 5  # it has moved


def test_occluders_pass_and_noise_is_new_in_each_frame() -> None:
    image = torch.full((3, 200, 200), 100, dtype=torch.uint8)
    frames = list(synthetic_video(image, POS, EYES, 50, Conditions(motion=0, mouth=0), seed=0))
    covered = [frame.covered for frame in frames]
    assert not any(covered[:30]) and sum(covered[30:]) > 5
    assert (frames[0].image.float() - frames[1].image.float()).std() == pytest.approx(8 * 2**0.5, rel=0.05)
    assert torch.equal(frames[0].target, frames[1].target)


def test_lag_and_jitter_are_those_that_were_put_in() -> None:
    time = torch.arange(60)[:, None, None].double()
    target = POS + 20 * torch.sin(0.2 * time) * torch.tensor([1.0, 0.5])
    late = POS + 20 * torch.sin(0.2 * (time - 1.5)) * torch.tensor([1.0, 0.5])
    assert lag_frames(late + 3, target) == pytest.approx(1.5, abs=0.05)
    # Second differences of (-1)^t are 4 long, between eyes 60 pixels apart.
    target = target[:, [*range(5), *[0] * 40, 1]]  # the eyes are landmarks 36 and 45
    shaken = target + 0.3 * (-1) ** time * torch.tensor([1.0, 0.0])
    assert jitter_percent(shaken, target) == pytest.approx(100 * 4 * 0.3 / 60)


def test_the_script_measures_the_astronaut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "figures.json"
    monkeypatch.setattr("sys.argv", ["video_smoothing.py", "--frames", "14", "--threads", "1", "--output", str(path)])
    main()
    (row,) = json.loads(path.read_text())["results"]
    assert {"measured", "smoothed", "without_covariances", "one_euro"} == set(row["all"])
    assert row["all"]["smoothed"]["jitter_percent"] < row["all"]["measured"]["jitter_percent"]
    assert "astronaut" in capsys.readouterr().out


def test_figures_of_a_perfect_prediction() -> None:
    target = torch.zeros(30, 68, 2)
    target[:, 45, 0] = 50.0
    pos = dict.fromkeys(("measured", "smoothed", "without_covariances", "one_euro"), target)
    found = figures_of({**pos, "target": target, "covered": torch.arange(30) > 20})
    assert found["smoothed"]["nme_percent"] == found["measured"]["nme_covered_percent"] == 0
