"""The kernels compute what they should while AddressSanitizer and UBSan watch.

A part of every operator's own tests runs on sanitized kernels: all memory layouts and odd shapes.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from operators import OPERATORS

from emulator.build import build
from emulator.sanitized import run_tests

pytestmark = pytest.mark.slow

#: As pytest's -k; of the largest operators as much as minutes allow.
USUAL = "any_ or matches_reference and (float32 or bfloat16)"
CHOSEN = {
    "normalized_mixed_sum": "many_inputs or misaligned or given_norms",
    "search_cell": "matches_reference and True and (attention or first-2)"
    " or recomputing_changes and dtype2 or any_structure and False and (all or block or wide)",
}


@pytest.fixture(scope="module")
def kernels() -> Path:
    return build("adarts_emulated", sanitize=True)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("operator", OPERATORS)
def test_operators(operator):
    made = run_tests(f"test_{operator}.py", CHOSEN.get(operator, USUAL))
    assert made.returncode == 0, made.stdout + made.stderr
