"""Launches of our kernels as the emulator sees them, with or without running them."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from .cubin import demangle
from .state import Launch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))


class _Observed(ctypes.Structure):
    """As in tests/emulator/observer.cpp."""

    _fields_ = (
        ("symbol", ctypes.c_char_p),
        ("grid", ctypes.c_uint32 * 3),
        ("block", ctypes.c_uint32 * 3),
        ("dynamic", ctypes.c_uint64),
        ("parameters", ctypes.POINTER(ctypes.c_ubyte)),
        ("parameter_bytes", ctypes.c_uint64),
    )


_LISTENER = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Observed))


@cache
def _name(symbol: bytes) -> str:
    return demangle([symbol.decode()])[0]


@contextmanager
def observed(listen: Callable[[Launch], bool], library: Path) -> Iterator[None]:
    """Tell ``listen`` of every launch of an emulated library; a launch is run if it says so.

    An error in ``listen`` is raised when the block ends; launches after it are not run.
    """
    errors: list[BaseException] = []

    def hear(pointer) -> int:
        seen = pointer.contents
        try:
            launch = Launch(
                name=_name(seen.symbol),
                grid=tuple(seen.grid),
                block=tuple(seen.block),
                dynamic=int(seen.dynamic),
                parameters=ctypes.string_at(seen.parameters, seen.parameter_bytes),
            )
            return not errors and bool(listen(launch))
        except BaseException as error:
            errors.append(error)
            return 0

    listener = _LISTENER(hear)
    observe = ctypes.CDLL(str(library)).adarts_emulator_observe
    observe.argtypes = (ctypes.c_void_p,)  # null for none
    observe(ctypes.cast(listener, ctypes.c_void_p))
    try:
        yield
    finally:
        observe(None)
    if errors:
        raise errors[0]
