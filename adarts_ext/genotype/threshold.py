"""Genotypes that keep an edge only where its operation is strong enough."""

from __future__ import annotations

from collections.abc import Sequence

from adarts_ext.genotype.cell_graph import PRIMITIVES
from adarts_ext.genotype.scores import Scores
from adarts_ext.genotype.structure import Genotype


def without_weak_edges(
    genotype: Genotype,
    normal: Scores,
    reduce: Scores,
    threshold: float,
    columns: Sequence[str] = PRIMITIVES,
) -> Genotype:
    """Put ``none`` in the place of the operations that weigh less than a threshold.

    A node that is left without an edge gives zeros: it is not concatenated, and edges that leave it
    become ``none`` too. A cell in which nothing is left stays whole.

    Args:
        genotype: What is derived without a threshold.
        normal: The weights of the normal cell's operations, a list a node of an entry a source.
        reduce: Likewise those of the reduction cell.
        threshold: The smallest weight that is kept.
        columns: The operations that a list's entries are of.

    Example:
        >>> cell = (("skip_connect", 0), ("max_pool_3x3", 1))
        >>> genotype = Genotype(cell, (2,), cell, (2,))
        >>> strong, weak = [0, 0, 0, 0.9, 0, 0, 0, 0], [0, 0.4, 0, 0, 0, 0, 0, 0]
        >>> without_weak_edges(genotype, [[strong, weak]], [[strong, weak]], 0.85).normal
        (('skip_connect', 0), ('none', 1))
    """
    fields = {}
    for cell, weights in (("normal", normal), ("reduce", reduce)):
        edges = getattr(genotype, cell)
        strong = _strong(edges, weights, threshold, columns)
        nodes = tuple(2 + place for place in range(len(weights)) if any(strong[2 * place :][:2]))
        if nodes:
            edges = tuple(
                edge if kept else ("none", edge[1])
                for edge, kept in zip(edges, strong, strict=True)
            )
        fields |= {cell: edges, f"{cell}_concat": nodes or getattr(genotype, f"{cell}_concat")}
    return Genotype(**fields)


def _strong(
    edges: tuple[tuple[str, int], ...], weights: Scores, threshold: float, columns: Sequence[str]
) -> list[bool]:
    """Return which edges are strong enough, and leave a state that is more than zeros."""
    states, strong = [True, True], []
    for place, node in enumerate(weights):
        of_node = [
            states[source] and node[source][columns.index(operation)] >= threshold
            for operation, source in edges[2 * place : 2 * place + 2]
        ]
        strong += of_node
        states.append(any(of_node))
    return strong
