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
    " or recomputing_changes and 2-dtype2 or any_structure and False and (all or second or wide)",
}
LEFT_OUT = "definition and (nothing or another) or everything"
OTHERS = [operator for operator in OPERATORS if operator not in CHOSEN]


@pytest.fixture(scope="module")
def kernels() -> Path:
    return build("adarts_emulated", sanitize=True)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(
    ("operators", "names"),
    [(OTHERS, USUAL), *(([operator], names) for operator, names in CHOSEN.items())],
)
def test_operators(operators, names):
    made = run_tests([f"test_{operator}.py" for operator in operators], names)
    assert made.returncode == 0, made.stdout + made.stderr


@pytest.mark.usefixtures("kernels")
def test_a_cell_with_candidates_left_out():
    made = run_tests(["test_search_cell_active.py"], LEFT_OUT)
    assert made.returncode == 0, made.stdout + made.stderr
