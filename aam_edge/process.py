"""What the system says of this process, and what it gets back."""

from __future__ import annotations

import ctypes
import resource
from pathlib import Path

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""Of glibc; other C libraries have none."""


def resident_bytes() -> int:
    """Memory of this process that is in RAM; its peak where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def give_back_memory() -> None:
    """Hands pages back to the system that nothing uses any more, a millisecond's work.

    glibc keeps what the longest backlog so far needed, scattered over the heap of each thread:
    without this the memory of a stream rises in steps for hours, by some MB each time that the
    machine has been busier than ever before.
    """
    if _trim is not None:
        _trim(0)
