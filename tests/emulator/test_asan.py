"""The launchers agree with numpy while AddressSanitizer and UndefinedBehaviorSanitizer watch."""

from __future__ import annotations

from pathlib import Path

import pytest

from emulator.build import build
from emulator.sanitized import run_python

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
    checks = Path(__file__).with_name("launcher_checks.py")
    made = run_python(checks, str(launchers), operator)
    assert made.returncode == 0, made.stderr
