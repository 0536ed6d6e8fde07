"""Which candidates the edges of the two kinds of cell have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from adarts_ext.genotype.cell_graph import PRIMITIVES
from adarts_ext.genotype.operations import hint_for, known_operations

Names = tuple[str, ...]


class EdgeCandidates(NamedTuple):
    """Candidates that differ from edge to edge.

    Args:
        normal: The names of each edge of the normal cell, in the order of the alphas.
        reduce: Likewise of the reduction cell.
        columns: What the columns of the alphas are of, where that is more than PRIMITIVES and these
            candidates: those of a stage before.
    """

    normal: tuple[Names, ...]
    reduce: tuple[Names, ...]
    columns: Names = ()


#: Names that all edges have, or those of each.
Candidates = Sequence[str] | EdgeCandidates


def columns_of(candidates: Candidates) -> Names:
    """Return what the columns of the alphas stand for: PRIMITIVES, then those of one's own.

    Args:
        candidates: Those of a network, or of an edge.

    Example:
        >>> columns_of(["noise", "sep_conv_3x3"]) == (*PRIMITIVES, "noise")
        True
    """
    each: Sequence[Sequence[str]] = [candidates]
    if isinstance(candidates, EdgeCandidates):
        each = [candidates.columns, *candidates.normal, *candidates.reduce]
    own = [name for names in each for name in names if name not in PRIMITIVES]
    return (*PRIMITIVES, *dict.fromkeys(own))


def on_every_edge(owner: str, candidates: Candidates, cell: str, edges: int) -> tuple[Names, ...]:
    """Return the candidates of every edge of a cell.

    Args:
        owner: What errors begin with.
        candidates: Names that all edges have, or those of each.
        cell: ``"normal"`` or ``"reduce"``.
        edges: How many edges it has.

    Raises:
        ValueError: If there are names for another number of edges.

    Example:
        >>> on_every_edge("example", ["none", "skip_connect"], "normal", edges=2)
        (('none', 'skip_connect'), ('none', 'skip_connect'))
    """
    if not isinstance(candidates, EdgeCandidates):
        return (tuple(candidates),) * edges
    names = getattr(candidates, cell)
    if len(names) != edges:
        raise ValueError(
            f"{owner}: expected candidates of the {cell} cell for each of {edges} edges, got those "
            f"of {len(names)}"
        )
    return tuple(map(tuple, names))


def choices(candidates: Candidates, cell: str, edges: int) -> list[list[int]]:
    """Return which columns can be chosen on each edge of a cell: its candidates but ``none``.

    Example:
        >>> choices(["none", "skip_connect"], "normal", edges=2)
        [[3], [3]]
    """
    columns = columns_of(candidates)
    return [
        sorted(columns.index(name) for name in names if name != "none")
        for names in on_every_edge("candidates", candidates, cell, edges)
    ]


def check_candidates(owner: str, candidates: Candidates) -> None:
    """Raise ValueError unless an edge has different known candidates, one beside ``none``."""
    if isinstance(candidates, EdgeCandidates):
        for names in (*candidates.normal, *candidates.reduce):
            check_candidates(owner, names)
        return
    for name in candidates:
        if name not in known_operations():
            raise ValueError(
                f"{owner}: expected candidates of {', '.join(known_operations())}, got {name!r}"
                f"{hint_for(name)}"
            )
    if len(set(candidates)) < len(candidates):
        raise ValueError(f"{owner}: expected every candidate once, got {', '.join(candidates)}")
    if not set(candidates) - {"none"}:
        raise ValueError(f"{owner}: expected at least one candidate that is not none")
