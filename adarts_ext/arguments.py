"""Errors that name arguments, told in the caller's words.

A message is written in the words of Python: ``batch_size``, ``resume=True``. Its error also carries
the names that stand in it, so that the command line can show ``--batch-size`` and ``--resume``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection
from typing import TypeVar

Error = TypeVar("Error", bound=Exception)


def naming(error: Error, *names: str) -> Error:
    """Note on an error which arguments its message names, as they stand there; return it.

    Example:
        >>> error = naming(ValueError("layers: expected at least 3, got 2"), "layers")
        >>> str(error), in_words(error, as_option)
        ('layers: expected at least 3, got 2', '--layers: expected at least 3, got 2')
    """
    error.argument_names = names
    return error


def in_words(error: Exception, word: Callable[[str], str]) -> str:
    """Return the message of an error with other words for the arguments that it names.

    Args:
        error: Any error; one that :func:`naming` has not seen keeps its words.
        word: What an argument is called, given its name in Python.
    """
    text = str(error)
    for name in getattr(error, "argument_names", ()):
        # Once, and not in the paths and the options that stand in a message too.
        spoken = word(name.removesuffix("=True"))
        text = re.sub(rf"(?<![\w/.-]){name}(?![\w/-])", lambda _, new=spoken: new, text, count=1)
    return text


def as_option(name: str) -> str:
    """Return what an argument is called on the command line.

    Example:
        >>> as_option("batch_size")
        '--batch-size'
    """
    return "--" + name.replace("_", "-")


def suggestion(name: str, known: Collection[str]) -> str:
    """Return the end of a message about an unknown name: which known one may be meant.

    Example:
        >>> suggestion("epohcs", ["epochs", "layers"]), suggestion("colour", ["epochs"])
        ('; did you mean epochs?', '')
    """
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    return f"; did you mean {near[0]}?" if near else ""
