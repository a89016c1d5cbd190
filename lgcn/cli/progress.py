"""The progress of a run: a bar with a rate on a terminal, a line now and then in a log."""

import time
from types import TracebackType

from tqdm import tqdm

from lgcn.cli.messages import tell

_LOG_EVERY = 30.0
"""Seconds between two lines in a log."""


class Progress:
    """Counts images, as a context manager.

    Args:
        total: images in all; None if that is not known.
        done: of them, in an earlier run.
        unit: what is counted.
    """

    def __init__(self, total: int | None, done: int = 0, unit: str = "image") -> None:
        self._quiet = total is not None and total - done <= 1
        # disable=None: no bar if stderr is not a terminal.
        self._bar = tqdm(
            total=total,
            initial=done,
            desc="predict",
            unit=f" {unit}s",
            disable=True if self._quiet else None,
            smoothing=0.1,
        )
        self._total, self._earlier, self._done, self._unit = total, done, done, unit
        self._start = self._told = time.monotonic()

    def advance(self) -> None:
        """One more image is done."""
        self._done += 1
        self._bar.update()
        now = time.monotonic()
        if self._bar.disable and not self._quiet and now - self._told >= _LOG_EVERY:
            self._told = now
            of = left = ""
            if self._total is not None:
                of = f" of {self._total}"
                left = f", {tqdm.format_interval(max(0, self._total - self._done) / self.rate())} left"
            tell("note", f"{self._done}{of} {self._unit}s, {self.rate():.2f} {self._unit}s/s{left}.")

    def rate(self) -> float:
        """Images per second so far, of this run."""
        return (self._done - self._earlier) / max(time.monotonic() - self._start, 1e-9)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
