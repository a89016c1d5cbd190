"""What every test gets: few threads, a fixed seed, and the shared data where there is some."""

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from lgcn.schemes import SCHEMES

ROOT = Path(__file__).resolve().parents[1]

# Each of several test processes takes one thread. Sums in another order differ in their last digits, and some tests
# compare with what a process of their own has calculated: that one takes as many.
THREADS = 1 if "PYTEST_XDIST_WORKER" in os.environ else min(2, torch.get_num_threads())
torch.set_num_threads(THREADS)
os.environ["OMP_NUM_THREADS"] = str(THREADS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "LGCN_FULL_TEST" not in os.environ:
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: LGCN_FULL_TEST=1 runs it"))


@pytest.fixture(autouse=True)
def _seed() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - third-party code draws from the global generator
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Gives back the number of threads that a test has changed, by running a benchmark in this process for one."""
    yield
    torch.set_num_threads(THREADS)


@pytest.fixture(autouse=True)
def _schemes() -> Iterator[None]:
    """Forgets the schemes that a test has registered, by hand or by loading a model that defines one."""
    known = dict(SCHEMES._things)
    yield
    SCHEMES._things.clear()
    SCHEMES._things.update(known)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data (300-W faces, ImageNet weights), which a plain clone does not have."""
    folder = Path(os.environ.get("LGCN_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no real data at '{folder}': set LGCN_SHARED to a folder that holds data/300w")
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.name != "posix" or os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
