"""The emulated operators in Python: in the place of the compiled ones, and their launches."""

from __future__ import annotations

import ctypes
import pkgutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from types import ModuleType

import pytest
import torch

from adarts_ext import ops
from emulator.build import build, library_path


@cache
def load(sanitize: bool = False):
    """Return ``torch.ops.adarts_emulated``: the CUDA operators for CPU tensors, on the emulator.

    Sanitized ones need the runtime that :mod:`emulator.sanitized` gives; a process has one of both.
    """
    torch.ops.load_library(build("adarts_emulated", sanitize))
    return torch.ops.adarts_emulated


def handles() -> list[tuple[ModuleType, str]]:
    """Find the names by which the modules of :mod:`adarts_ext.ops` hold the compiled operators."""
    names = [found.name for found in pkgutil.walk_packages(ops.__path__, f"{ops.__name__}.")]
    return [
        (module, name)
        for module in map(import_module, names)
        for name, value in vars(module).items()
        if value is torch.ops.adarts_ext
    ]


class _Operators:
    """The emulated operators, and which of them were asked for."""

    def __init__(self, sanitize: bool):
        self._emulated = load(sanitize)
        self.asked_for: set[str] = set()

    def __getattr__(self, name: str):
        operator = getattr(self._emulated, name)
        self.asked_for.add(name)
        return operator


def _refuse(operator: str):
    def refuse(*arguments, **keywords):
        raise AssertionError(f"{operator} ran on the CPU's kernels where it should be emulated")

    return refuse


@contextmanager
def emulated(sanitize: bool = False) -> Iterator[None]:
    """Put the CUDA kernels under the emulator in the place of the compiled operators.

    Raises:
        AssertionError: a compiled operator ran nevertheless, or no emulated one did.
    """
    stand_in = _Operators(sanitize)
    every = torch._C._dispatch_get_registrations_for_dispatch_key("CPU")
    compiled = [name for name in every if name.startswith("adarts_ext::")]
    with (
        pytest.MonkeyPatch.context() as patch,
        torch.library._scoped_library("adarts_ext", "IMPL") as overrides,
    ):
        for module, name in handles():
            patch.setattr(module, name, stand_in)
        for operator in compiled:
            overrides.impl(operator, _refuse(operator), "CPU", allow_override=True)
        yield
    assert stand_in.asked_for, "no emulated operator ran: which module of adarts_ext.ops has it?"


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
