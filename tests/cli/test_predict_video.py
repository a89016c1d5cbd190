import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lgcn.cli.main import main
from lgcn.models import create_detector
from lgcn.video import VideoReader, VideoWriter, tracker

av = pytest.importorskip("av", reason="PyAV (the extra 'video') is not installed")

FRAMES = 4


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An untrained network, the smallest that there is; with argmax its landmarks are not all in one spot."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    options = {
        "backbone": "test_efficientnet",
        "input_size": (64, 64),
        "refiner": {"name": "none"},
        "codec": {"decode": "argmax"},
    }
    create_detector(scheme="ibug68", **options).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    with VideoWriter(path, 25.0) as writer:
        for number in range(FRAMES):
            writer.write(image, number / 25)
    return path


@pytest.fixture
def predict(model: str):  # type: ignore[no-untyped-def]
    words = ("predict", "--model", model, "--faces", "whole_image", "--min-confidence", "0")
    return lambda *more: main([*words, *map(str, more)])


def records(text: str) -> list[dict]:  # type: ignore[type-arg]
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_of_json_for_each_frame_is_printed(predict, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(clip) == 0
    found = records(capsys.readouterr().out)
    assert [record["frame"] for record in found] == list(range(FRAMES))
    assert [record["time"] for record in found] == pytest.approx([0, 0.04, 0.08, 0.12], abs=1e-3)
    for record in found:
        (face,) = record["faces"]
        assert list(face)[:3] == ["track", "box", "score"]
        assert face["track"] == 0 and np.shape(face["landmarks"]) == (68, 2)
    assert sorted(path.name for path in clip.parent.iterdir()) == ["clip.mp4"]


def test_the_folder_holds_the_lines_and_the_overlay(
    predict, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert predict(clip, "--output", out, "--overlay", "--draw", "boxes", "--smoothing", "0") == 0
    assert sorted(path.name for path in out.iterdir()) == ["clip.jsonl", "clip_overlay.mp4"]
    assert len(records((out / "clip.jsonl").read_text())) == FRAMES
    with VideoReader(out / "clip_overlay.mp4") as video, VideoReader(clip) as original:
        drawn, plain = list(video), list(original)
    assert [frame.time for frame in drawn] == pytest.approx([frame.time for frame in plain], abs=1e-3)
    assert drawn[0].image.shape == (3, 64, 96)
    assert (drawn[0].image.float() - plain[0].image.float()).abs().mean() > 5
    assert "1 face in 4 frames; written:" in capsys.readouterr().err
    assert predict(clip, "--output", out) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert predict(clip, "--output", out, "--overwrite") == 0


def test_a_video_that_cannot_be_read_costs_the_others_nothing(
    predict, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.mp4").write_text("not a video")
    assert predict(tmp_path / "bad.mp4", clip, "--output", tmp_path / "out") == 2
    assert len(records((tmp_path / "out" / "clip.jsonl").read_text())) == FRAMES
    assert "error: Expected a video at '" in capsys.readouterr().err


def test_a_stopped_run_keeps_its_frames(
    predict, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    called = tracker.LandmarkTracker.__call__

    def stop_at_the_third(self, image, time=None):  # type: ignore[no-untyped-def]
        if time and time > 0.07:
            raise KeyboardInterrupt
        return called(self, image, time)

    monkeypatch.setattr(tracker.LandmarkTracker, "__call__", stop_at_the_third)
    assert predict(clip, "--output", tmp_path / "out", "--overlay") == 130
    assert len(records((tmp_path / "out" / "clip.jsonl").read_text())) == 2
    with VideoReader(tmp_path / "out" / "clip_overlay.mp4") as video:
        assert len(list(video)) == 2
    assert "Stopped by Ctrl-C" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["photo.jpg"], "either images or videos"),
        (["--format", "csv"], "JSON Lines (got '--format csv')"),
        (["--workers", "2"], "'--workers'"),
        (["--overlay"], "--output"),
        (["other.mp4"], "several videos"),
        (["--detect-every", "0"], "'detect_every'"),
        (["--smoothing", "-1"], "'strength'"),
    ],
)
def test_options_that_do_not_fit_are_one_line(
    predict, clip: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(clip, *words) == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.err.count("\n") == 1 and not printed.out


@pytest.mark.parametrize("name", ["missing.mp4", "webcam:987"])
def test_a_missing_source_is_one_line_and_leaves_nothing(
    predict, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(tmp_path / name if "." in name else name, "--output", tmp_path / "out") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()
