"""How much memory there is, and which errors mean too little of it: they have several classes."""

from __future__ import annotations

import re
from pathlib import Path

_WORDS = ("out of memory", "not enough memory", "can't allocate memory", "bad_alloc")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out, on a GPU or on the CPU.

    torch has a class of its own for it on a GPU only, ``torch.OutOfMemoryError``; on the CPU it
    raises a RuntimeError, numpy and Python a MemoryError.

    Example:
        >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
        True
        >>> is_out_of_memory(RuntimeError("shapes do not fit"))
        False
    """
    words = isinstance(error, RuntimeError) and any(w in str(error).lower() for w in _WORDS)
    return isinstance(error, MemoryError) or words


def available_memory() -> int:
    """Return the bytes that can be taken without swapping, no more than a container may have.

    Example:
        >>> available_memory() > 0
        True
    """
    found = re.search(r"MemAvailable: *(\d+) kB", Path("/proc/meminfo").read_text())
    available = 1024 * int(found[1])
    limit = Path("/sys/fs/cgroup/memory.max")  # that of version 2, as a container sees it
    text = limit.read_text().strip() if limit.is_file() else "max"
    return available if text == "max" else min(available, int(text))
