"""Errors of the processes that read pictures, as short as those of this one."""

from collections.abc import Iterator
from contextlib import contextmanager

from lgcn.checks import InputError


@contextmanager
def short_worker_errors() -> Iterator[None]:
    """Frees an :class:`InputError` of a loading process from the traceback that torch puts into its message."""
    try:
        yield
    except InputError as error:
        kind = type(error)
        _, wrapped, message = str(error).rpartition(f"\n{kind.__module__}.{kind.__qualname__}: ")
        if not wrapped:
            raise
        raise kind(message.strip()) from error
