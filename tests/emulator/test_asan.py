"""The launchers agree with numpy while AddressSanitizer and UndefinedBehaviorSanitizer watch."""

from __future__ import annotations

from pathlib import Path

import pytest

from emulator.build import build
from emulator.sanitized import run_module

OPERATORS = [
    "mixed_sum",
    "select_channels",
    "gather_channels",
    "scatter_channels",
    "channel_attention",
]


@pytest.fixture(scope="module")
def launchers() -> Path:
    return build("launchers", sanitize=True)


@pytest.mark.parametrize("operator", OPERATORS)
def test_launchers(launchers, operator):
    made = run_module("launcher_checks", str(launchers), operator)
    assert made.returncode == 0, made.stderr
