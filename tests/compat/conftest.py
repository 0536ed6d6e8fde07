"""A fixture for tests of what follows when a network's code has been recognised."""

from __future__ import annotations

from typing import Any

import pytest

from adarts_ext.compat import recognize

OUTCOMES: dict[Any, Any] = {}


@pytest.fixture
def recognized_once(monkeypatch):
    """Try each kind of cell and mixed operation once in all tests that want no more of it.

    `accelerate` tries them in each call, for code may read what changes between two of them. Not
    for tests that have the kernels compute something else in float64, in which they are tried.
    """
    once = recognize._once
    monkeypatch.setattr(
        recognize, "_once", lambda module, more, tried, _: once(module, more, tried, OUTCOMES)
    )
