"""Searching for the cells: the bilevel search of DARTS and what strategies make of it."""

from typing import Any

from adarts_ext.search.collapse import CollapseMonitor
from adarts_ext.search.config import SearchConfig
from adarts_ext.search.hessian import largest_hessian_eigenvalue
from adarts_ext.search.presets import PRESETS
from adarts_ext.search.result import SearchResult, SweepResult

__all__ = [
    "PRESETS",
    "CollapseMonitor",
    "SearchConfig",
    "SearchResult",
    "SweepResult",
    "largest_hessian_eigenvalue",
    "search",
    "search_seeds",
]


def __getattr__(name: str) -> Any:
    """Import the search when it is asked for: unlike its settings and steps it needs the extra."""
    if name == "search":
        from adarts_ext.search.loop import search

        return search
    if name == "search_seeds":
        from adarts_ext.search.seeds import search_seeds

        return search_seeds
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
