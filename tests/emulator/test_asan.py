"""The kernels compute what they should while AddressSanitizer and UBSan watch.

The launchers of the single operators are compared with numpy; the kernels of the cell, which only
their operators call in the right order, run in torch as those operators' own tests.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from emulator.build import build
from emulator.sanitized import run_module, run_tests

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


@pytest.fixture(scope="module")
def operators() -> Path:
    return build("adarts_emulated", sanitize=True)


@pytest.mark.usefixtures("operators")
@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("test_normalized_mixed_sum.py", "many_inputs or misaligned or given_norms"),
        ("test_preprocess_cell.py", "matches_reference or any_size"),
        ("test_search_cell.py", "matches_reference and True or recomputing_changes"),
        ("test_search_cell.py", "any_structure and False and (all or block or wide)"),
    ],
)
def test_operators(file, names):
    made = run_tests(file, names)
    assert made.returncode == 0, made.stdout + made.stderr
