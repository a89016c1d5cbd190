"""How the benchmarks time, weigh and describe: see ``benchmarks/README.md``."""

import gc
import os
import platform
import subprocess
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
import torch_geometric
from torch.profiler import ProfilerActivity, profile
from torch_geometric.typing import WITH_PYG_LIB, WITH_TORCH_SCATTER, WITH_TORCH_SPARSE

import lgcn

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler tells of each start and stop otherwise

WARM_UP = 3
PATIENCE = 60.0  # seconds for one figure; what is slower is called fewer times than asked for, though thrice


def time_calls(call: Callable[[], object], repeats: int, seconds: float) -> dict[str, Any]:
    """Median and quartiles of the times of single calls, after a warm-up.

    Args:
        call: what is timed, on the CPU, so that its return is its end.
        repeats: calls at least.
        seconds: goes on this long at least.
    """
    started = time.perf_counter()
    for _ in range(WARM_UP):
        call()
        if time.perf_counter() - started > PATIENCE / 4:
            break
    times: list[float] = []
    gc.collect()
    gc.disable()
    try:
        started = time.perf_counter()
        elapsed = 0.0
        while (len(times) < repeats or elapsed < seconds) and (len(times) < min(3, repeats) or elapsed < PATIENCE):
            before = time.perf_counter()
            call()
            after = time.perf_counter()
            times.append(after - before)
            elapsed = after - started
    finally:
        gc.enable()
    low, median, high = torch.tensor(times, dtype=torch.float64).quantile(torch.tensor([0.25, 0.5, 0.75]).double())
    return {"median_s": float(median), "quartiles_s": [float(low), float(high)], "calls": len(times)}


def peak_bytes(call: Callable[[], object]) -> int:
    """The most bytes of tensors that one call holds beyond those that were there before it, its result included.

    Read from what PyTorch's CPU allocator reports to its profiler, so it is exact and the same in each run; scratch
    memory that libraries such as oneDNN get for themselves is not in it.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:
        call()
    results = profiler.profiler.kineto_results
    events = [event for event in results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def available_bytes() -> int:
    """Memory that can be had without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def environment() -> dict[str, Any]:
    """Versions and hardware; ``load_average`` tells whether something else was running at the start."""
    models = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": models[0] if models else platform.processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_geometric": torch_geometric.__version__,
        "lgcn": lgcn.__version__,
        "pyg_extensions": {"pyg_lib": WITH_PYG_LIB, "scatter": WITH_TORCH_SCATTER, "sparse": WITH_TORCH_SPARSE},
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": None if changed is None else bool(changed),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def _git(*arguments: str) -> str | None:
    """What git says of this checkout; None where there is no git, or no checkout."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
