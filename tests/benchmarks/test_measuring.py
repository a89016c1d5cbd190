"""Times, memory and the load of other processes agree with the system."""

import subprocess
import sys
import time

import pytest
import torch

from benchmarks.measuring import OtherProcesses, resident_peak_bytes, time_calls


def test_warm_up_lasts_for_its_calls_and_its_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def call() -> None:
        now[0] += 1.0

    def calls(**options: float) -> float:
        before = now[0]
        timed = time_calls(call, repeats=2, seconds=0.0, **options)  # type: ignore[arg-type]
        assert timed["calls"] == 2 and timed["median_s"] == 1
        return now[0] - before - 2

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    assert calls(warm_up=3) == 3
    assert calls(warm_up=3, warm_up_seconds=5.0) == 5
    assert calls(warm_up=0, warm_up_seconds=5.0) == 0
    assert calls(warm_up=9, patience=16.0) == 5  # the fifth call begins at a quarter of the patience


def test_peak_of_the_resident_memory() -> None:
    size = 1 << 25
    peak = resident_peak_bytes(lambda: torch.ones(size, dtype=torch.uint8))
    if peak is None:
        pytest.skip("needs /proc of Linux")
    assert 0.95 * size <= peak < 1.3 * size
    assert resident_peak_bytes(lambda: None) < size / 30  # type: ignore[operator]


def test_load_of_other_processes() -> None:
    others = OtherProcesses()
    if others.share is None:
        pytest.skip("needs /proc of Linux")
    # A running child process counts as another process.
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(1.0)
        share = others.share
    finally:
        busy.kill()
        busy.wait()
    assert share is not None and share > 0.02
