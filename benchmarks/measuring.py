"""Time, memory and environment of a benchmark; ``benchmarks/README.md`` defines the quantities."""

import ctypes
import gc
import json
import multiprocessing
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch_geometric
from torch.profiler import ProfilerActivity, profile
from torch_geometric.typing import WITH_PYG_LIB, WITH_TORCH_SCATTER, WITH_TORCH_SPARSE

import lgcn
from lgcn.files import write_text

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # otherwise the profiler logs every start and stop

T = TypeVar("T")

WARM_UP = 3
PATIENCE = 60.0
"""Seconds for one measurement; slower calls are made fewer times, but at least three."""
SLOW = 2.0
"""Seconds of a call; a slower one needs no further warm-up."""


def time_calls(
    call: Callable[[], object],
    repeats: int,
    seconds: float,
    patience: float = PATIENCE,
    warm_up: int = WARM_UP,
    warm_up_seconds: float = 0.0,
) -> dict[str, Any]:
    """Median and quartiles of the times of single calls, after a warm-up.

    Args:
        call: timed on the CPU, so that it is complete when it returns.
        repeats: timed calls at least.
        seconds: timed seconds at least.
        patience: seconds after which three calls are enough.
        warm_up: untimed calls; none begins after a quarter of ``patience``.
        warm_up_seconds: warm-up seconds at least, unless ``warm_up`` is 0.
    """
    started, called = time.perf_counter(), 0
    while warm_up and time.perf_counter() - started <= patience / 4:
        if called >= warm_up and time.perf_counter() - started >= warm_up_seconds:
            break
        call()
        called += 1
    times: list[float] = []
    gc.collect()
    gc.disable()
    try:
        started = time.perf_counter()
        elapsed = 0.0
        while (len(times) < repeats or elapsed < seconds) and (len(times) < min(3, repeats) or elapsed < patience):
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
    """Peak bytes of tensors that one call allocates, its result included.

    Read from the events of PyTorch's CPU allocator, so it is exact and reproducible. Scratch memory that libraries such
    as oneDNN allocate themselves is not included.
    """
    return call_and_peak_bytes(call)[1]


def call_and_peak_bytes(call: Callable[[], T]) -> tuple[T, int]:
    """Result of one call, and its :func:`peak_bytes`."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:
        result = call()
    results = profiler.profiler.kineto_results
    events = [event for event in results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return result, peak


def resident_peak_bytes(call: Callable[[], object]) -> int | None:
    """Growth of the resident memory of the process during one call; None if ``/proc`` is not available.

    Unused pages are first returned to the system as far as the C library does so. What it still holds is not seen, so
    that small amounts are underestimated.
    """
    if not Path("/proc/self/clear_refs").exists():
        return None
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the largest size so far
    before = _status_bytes("VmRSS")
    call()
    return _status_bytes("VmHWM") - before


def in_a_process(generate: Callable[..., Iterator[Any]], *args: Any) -> Iterator[Any]:
    """Items of a generator that runs in a new process with these arguments.

    Raises:
        SystemExit: if the process ends before the generator does.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, generate, *args))
    process.start()
    sender.close()  # so that the end of the process is the end of the pipe
    try:
        while True:
            yield receiver.recv()
    except EOFError:
        pass
    finally:
        receiver.close()
        process.join()
    if process.exitcode:
        raise SystemExit(f"Stopped: the process that measured ended with status {process.exitcode}.")


def _send(sender: Connection, generate: Callable[..., Iterator[Any]], *args: Any) -> None:
    for item in generate(*args):
        sender.send(item)


class OtherProcesses:
    """CPU time that all other processes take, from now on."""

    def __init__(self) -> None:
        self._started, self._busy, self._own = time.perf_counter(), *self._seconds()

    @property
    def share(self) -> float | None:
        """Share of the time of all cores; None if ``/proc`` is not available."""
        busy, own = self._seconds()
        elapsed = (time.perf_counter() - self._started) * (os.cpu_count() or 1)
        return None if busy is None or self._busy is None else max(0.0, busy - self._busy - own + self._own) / elapsed

    @staticmethod
    def _seconds() -> tuple[float | None, float]:
        """CPU seconds of the machine, and of this process with its finished children."""
        times = os.times()
        lines = _lines("/proc/stat")
        if not lines:
            return None, sum(times[:4])
        user, nice, system, _, _, irq, softirq, steal = map(int, lines[0].split()[1:9])
        return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK"), sum(times[:4])


def available_bytes() -> int:
    """Memory available without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def environment() -> dict[str, Any]:
    """Versions, hardware and commit."""
    models = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    # Files that a run itself writes do not count as changes.
    written = [f":(exclude,top){folder}" for folder in ("benchmarks/results", "docs")]
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", *written)
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": models[0] if models else platform.processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "caches": _caches(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_geometric": torch_geometric.__version__,
        **versions("onnx", "onnxruntime", "torch_scatter"),
        "lgcn": lgcn.__version__,
        "pyg_extensions": {"pyg_lib": WITH_PYG_LIB, "scatter": WITH_TORCH_SCATTER, "sparse": WITH_TORCH_SPARSE},
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": None if changed is None else bool(changed),
    }


def versions(*packages: str) -> dict[str, str | None]:
    """Versions of optional packages; None if not installed."""
    found: dict[str, str | None] = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def write_figures(path: Path, figures: dict[str, Any]) -> None:
    """Write JSON atomically, with one line per row of a table."""
    parts = []
    for key, value in figures.items():
        is_table = isinstance(value, list) and any(isinstance(row, dict) for row in value)
        lines = ",\n".join(f"    {json.dumps(row)}" for row in value) if is_table else ""
        parts.append(f"  {json.dumps(key)}: " + (f"[\n{lines}\n  ]" if is_table else json.dumps(value)))
    write_text(path, "{\n" + ",\n".join(parts) + "\n}\n")


def _status_bytes(name: str) -> int:
    (line,) = (line for line in _lines("/proc/self/status") if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def _caches() -> dict[str, int]:
    """Sizes of the caches of the first core, in bytes."""
    sizes = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        if kind != "Instruction" and size.endswith("K"):
            sizes[f"L{level}"] = int(size[:-1]) * 1024
    return sizes


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def _git(*arguments: str) -> str | None:
    """Output of git for this checkout; None without git or outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
