"""Memory that a process keeps for its next tensors."""

import ctypes
import os
import platform

# of mallopt, in glibc's malloc.h
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_THRESHOLD = 32 << 20  # bytes; glibc takes no more
_USERS_OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next tensors, instead of returning it to the system.

    Each training step frees the tensors of the step before. By default glibc returns their pages, and the next
    step gets new ones from the system, zeroed: 8,000 page faults, a tenth of the time (docs/log.md). Nothing
    happens with another C library, or where the user's environment sets glibc's own thresholds.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in _USERS_OWN):
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_MMAP_THRESHOLD, _LARGEST_THRESHOLD)
