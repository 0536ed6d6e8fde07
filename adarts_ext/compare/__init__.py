"""Comparing methods of search: every arm from the same seeds, its networks trained the same way."""

from adarts_ext.compare.plan import Plan
from adarts_ext.compare.runs import compare

__all__ = ["Plan", "compare"]
