"""Errors of other processes, those that read pictures and those that train, as short as those of this one."""

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lgcn.checks import InputError

if TYPE_CHECKING:
    # Evaluation uses this file too, and runs without Lightning.
    from lightning.pytorch import Trainer

_GONE = re.compile(r"Connection (closed|reset) by peer")


@contextmanager
def short_worker_errors() -> Iterator[None]:
    """Frees an :class:`InputError` of a loading process from the traceback that torch puts into its message."""
    try:
        yield
    except InputError as error:
        kind = type(error)
        _, wrapped, message = error.args[0].rpartition(f"\n{kind.__module__}.{kind.__qualname__}: ")
        if not wrapped:
            raise
        raise kind(message.strip()) from error


@contextmanager
def one_message(trainer: "Trainer") -> Iterator[None]:
    """Sees to it that an :class:`InputError` of one of several training processes is the one message of the run.

    The others find out by a broken connection, with a traceback each. Where this process has started them it ends
    them; where it is one of them it says no more than that it stops too.
    """
    try:
        yield
    except InputError:
        launcher = trainer.strategy.launcher
        if launcher is not None:
            # They wait for this process inside a collective operation, where no gentler signal reaches them.
            launcher.kill(signal.SIGKILL)
        raise
    except RuntimeError as error:
        if trainer.world_size == 1 or not _GONE.search(str(error)):
            raise
        raise InputError("Stopped because another process of this run did; its own message says why.") from error
