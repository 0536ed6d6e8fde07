"""Every operator has all its parts, each found by its name."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from operators import COMPILED, OPERATORS

from adarts_ext import ops, reference


def test_every_gradient_belongs_to_an_operator():
    assert {name.removesuffix("_backward") for name in COMPILED} == set(OPERATORS)


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_has_a_module_a_definition_and_tests(name):
    assert find_spec(f"adarts_ext.ops.{name}")
    assert name in ops.__all__
    assert callable(getattr(reference, name))
    assert Path(__file__).with_name(f"test_{name}.py").exists()
