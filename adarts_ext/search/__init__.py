"""Searching for the cells: the bilevel search of DARTS, PC-DARTS and ADARTS."""

from typing import Any

from adarts_ext.search.config import PRESETS, SearchConfig
from adarts_ext.search.result import SearchResult

__all__ = ["PRESETS", "SearchConfig", "SearchResult", "search"]


def __getattr__(name: str) -> Any:
    """Import the search when it is asked for: unlike its settings and steps it needs the extra."""
    if name == "search":
        from adarts_ext.search.loop import search

        return search
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
