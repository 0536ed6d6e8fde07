"""Cells as FairDARTS writes them: triples (operation, node, source)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MOST_STATES = 1000  # of a cell, so that a mistaken number costs no time


def pairs_of_triples(
    cell: str, triples: Sequence[Any], concat: Sequence[int]
) -> tuple[list[tuple[str, int]], list[int]]:
    """Return the pairs of a cell, two to a node, and its concatenation, for :class:`Genotype`.

    Where a node has fewer than two edges ``none`` stands for the others. A node without an edge is
    not concatenated, and edges that leave it become ``none`` too, as in the network of FairDARTS
    (arXiv 1911.12126).

    Args:
        cell: ``"normal"`` or ``"reduce"``, for errors.
        triples: (operation, node, source), with nodes from 2 on.
        concat: The nodes that are concatenated, those without an edge among them.

    Raises:
        ValueError: If an entry is no triple of a text and two numbers, or a node has more than two.

    Example:
        >>> pairs_of_triples("normal", [("skip_connect", 2, 0), ("sep_conv_3x3", 3, 1)], [2, 3, 4])
        ([('skip_connect', 0), ('none', 1), ('sep_conv_3x3', 1), ('none', 0),
          ('none', 0), ('none', 1)], [2, 3])
    """
    if not _are_states(concat):
        raise ValueError(f"genotype: {cell}_concat: expected nodes, got {concat!r:.60}")
    nodes: dict[int, list[tuple[str, int]]] = {}
    for triple in triples:
        if len(triple) != 3 or not isinstance(triple[0], str) or not _are_states(triple[1:]):
            raise ValueError(
                f"genotype: {cell}: expected triples (operation, node, source), got {triple!r}"
            )
        operation, node, source = triple
        if not source < node or node < 2:
            raise ValueError(
                f"genotype: {cell}: expected a node of 2 on and a state before it, got {triple!r}"
            )
        nodes.setdefault(node, []).append((operation, source))
    there, pairs = {0, 1}, []
    for node in range(2, 1 + max([*nodes, *concat], default=1)):
        edges = nodes.get(node, [])
        if len(edges) > 2:
            raise ValueError(
                f"genotype: {cell}: expected at most two edges to a node, got {len(edges)} to "
                f"node {node}"
            )
        if any(source in there for _, source in edges):
            there.add(node)
        edges = [edge if edge[1] in there else ("none", edge[1]) for edge in edges]
        free = [state for state in (0, 1) if state not in [source for _, source in edges]]
        pairs += edges + [("none", state) for state in free][: 2 - len(edges)]
    return pairs, [node for node in concat if node in there]


def _are_states(values: Sequence[Any]) -> bool:
    return all(type(one) is int and 0 <= one < MOST_STATES for one in values)
