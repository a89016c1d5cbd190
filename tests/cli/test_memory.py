"""Commands keep freed memory for the next tensor."""

import ctypes
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import torch
from lgcn.cli.memory import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
faults = []
for _ in range(10):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.full((64 << 20,), 1, dtype=torch.uint8)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(faults[-1])
"""


def page_faults(argument: str) -> int:
    """Of a tensor of 64 MB that follows others of its size."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, argument], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
def test_memory_of_a_tensor_is_used_for_the_next() -> None:
    assert page_faults("kept") < 16
    assert page_faults("returned") >= 32, "pages of 2 MB, or of 4 KB"
