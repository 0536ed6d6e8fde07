"""The examples in the docstrings of the model."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module

import kernel_model
import pytest

MODULES = [found.name for found in pkgutil.iter_modules(kernel_model.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = import_module(f"kernel_model.{name}")
    assert doctest.testmod(module).failed == 0


def test_some_have_examples():
    finder = doctest.DocTestFinder()
    modules = [import_module(f"kernel_model.{name}") for name in MODULES]
    assert sum(bool(test.examples) for m in modules for test in finder.find(m)) > 5
