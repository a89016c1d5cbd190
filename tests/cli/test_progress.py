import pytest

from lgcn.cli import progress
from lgcn.cli.progress import Progress


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 1000.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with Progress(total=140, done=40) as shown:
        for _ in range(70):
            now += 1.0
            shown.advance()
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "lgcn: note: 70 of 140 images, 1.00 images/s, 01:10 left.",
        "lgcn: note: 100 of 140 images, 1.00 images/s, 00:40 left.",
    ]
    assert shown.rate() == 1.0


def test_a_single_image_has_none(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "_LOG_EVERY", 0.0)
    with Progress(total=1) as shown:
        shown.advance()
    assert capsys.readouterr().err == ""
