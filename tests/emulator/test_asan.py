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

USUAL = "any_ or matches_reference and (float32 or bfloat16)"
#: Of the largest operators as much as minutes allow.
CHOSEN = {
    "normalized_mixed_sum": "many_inputs or misaligned or given_norms",
    "search_cell": "matches_reference and True and (attention or first-2)"
    " or recomputing_changes and 2-dtype2 or any_structure and False and (all or second or wide)",
    "search_cell_active": "definition and (nothing or another) or everything",
}
CELL = [operator for operator in CHOSEN if operator.startswith("search_cell")]
OTHERS = [operator for operator in OPERATORS if operator not in CELL]


@pytest.fixture(scope="module")
def kernels() -> Path:
    return build("adarts_emulated", sanitize=True)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("operators", [OTHERS, CELL], ids=["others", "cell"])
def test_operators(operators):
    made = run_tests({name: CHOSEN.get(name, USUAL) for name in operators})
    assert made.returncode == 0, made.stdout + made.stderr
