"""The module of small kernels, and the order in which their threads run."""

from __future__ import annotations

import ctypes

import pytest

from emulator.build import build
from emulator.faults import load_module


@pytest.fixture(scope="module")
def planted():
    return load_module(build("planted"))


@pytest.fixture
def seed():
    function = ctypes.CDLL(str(build("planted"))).adarts_emulator_seed
    yield lambda value: function(ctypes.c_uint64(value))
    function(ctypes.c_uint64(1))
