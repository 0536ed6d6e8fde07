"""Searching for the cells: the bilevel search of DARTS, PC-DARTS and ADARTS."""

from adarts_ext.search.config import PRESETS, SearchConfig
from adarts_ext.search.loop import search

__all__ = ["PRESETS", "SearchConfig", "search"]
