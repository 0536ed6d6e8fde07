"""The emulated operators in Python, and how many kernels they launch."""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

from emulator.build import build, library_path


@cache
def load(sanitize: bool = False):
    """Return ``torch.ops.adarts_emulated``: the CUDA operators for CPU tensors, on the emulator.

    Sanitized ones need the runtime that :mod:`emulator.sanitized` gives; a process has one of both.
    """
    torch.ops.load_library(build("adarts_emulated", sanitize))
    return torch.ops.adarts_emulated


def _functions() -> ctypes.CDLL:
    load()
    library = ctypes.CDLL(str(library_path("adarts_emulated")))  # the one that is loaded already
    library.adarts_emulator_launches.restype = ctypes.c_char_p
    return library


def seed(value: int) -> None:
    """Set the seed of the order in which threads and blocks run."""
    _functions().adarts_emulator_seed(ctypes.c_uint64(value))


def _counts() -> Counter[str]:
    lines = _functions().adarts_emulator_launches().decode().splitlines()
    return Counter({kernel: int(count) for kernel, count in map(str.split, lines)})


@contextmanager
def launches() -> Iterator[Counter[str]]:
    """Count the launches by kernel name; the counter is filled when the block ends."""
    before = _counts()
    during: Counter[str] = Counter()
    yield during
    during.update(_counts() - before)
