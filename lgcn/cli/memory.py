"""Memory of the process in which a command runs."""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h of glibc
_LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> None:
    """Have glibc keep freed memory for the next tensor instead of returning it to the system.

    Otherwise every large tensor is a mapping of its own, whose pages the system clears anew each time: up to half of
    the time of a network on the CPU in batches of 32 faces. The memory of the process stays at its peak. Other systems
    and C libraries are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT)
