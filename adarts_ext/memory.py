"""Telling the errors that mean too little memory: they have several classes."""

from __future__ import annotations

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
