"""Memory and neighbours are what the system says they are."""

import subprocess
import sys
import time

import pytest
import torch

from benchmarks.measuring import Neighbours, resident_peak_bytes


def test_resident_memory_is_counted_while_it_is_held() -> None:
    size = 1 << 25
    peak = resident_peak_bytes(lambda: torch.ones(size, dtype=torch.uint8))
    if peak is None:
        pytest.skip("needs /proc of Linux")
    assert 0.95 * size <= peak < 1.3 * size
    assert resident_peak_bytes(lambda: None) < size / 30  # type: ignore[operator]


def test_neighbours_are_the_processes_that_are_not_ours() -> None:
    neighbours = Neighbours()
    if neighbours.share is None:
        pytest.skip("needs /proc of Linux")
    # A process of its own that has not ended is somebody else: what it takes is not this process's.
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(1.0)
        share = neighbours.share
    finally:
        busy.kill()
        busy.wait()
    assert share is not None and share > 0.02
