"""The operations by their names: the eight candidates, and those of one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from adarts_ext.arguments import suggestion
from adarts_ext.genotype.cell_graph import PRIMITIVES

#: Makes an operation of the channels of its input and output, the stride, and whether BatchNorms
#: have a scale and a shift: not in the search, but in the derived network.
Builder = Callable[[int, int, bool], nn.Module]


class OwnOperation(NamedTuple):
    """A candidate operation of one's own.

    Args:
        builder: What makes it.
        draws: Whether it draws random numbers in training.
    """

    builder: Builder
    draws: bool


#: Those that :func:`adarts_ext.nn.register_candidate` has registered, by their names.
OWN: dict[str, OwnOperation] = {}


def draws(name: str) -> bool:
    """Return whether an operation draws random numbers in training, so that two passes differ.

    Example:
        >>> draws("skip_connect"), draws("noise")
        (False, True)
    """
    return name in OWN and OWN[name].draws


def known_operations() -> tuple[str, ...]:
    """Return the names of all operations, those of one's own last.

    Example:
        >>> known_operations()[:2]
        ('none', 'max_pool_3x3')
    """
    return (*PRIMITIVES, *OWN)


def hint_for(name: object) -> str:
    """Return the end of an error about a name that is not known: what may help.

    Example:
        >>> hint_for("sep_conv_3")
        '; did you mean sep_conv_3x3?'
        >>> hint_for("mine")
        '; one of your own has to be registered first, by adarts_ext.nn.register_candidate or
        --candidates FILE.py'
    """
    near = suggestion(name, known_operations()) if isinstance(name, str) else ""
    return near or (
        "; one of your own has to be registered first, by adarts_ext.nn.register_candidate or "
        "--candidates FILE.py"
    )
