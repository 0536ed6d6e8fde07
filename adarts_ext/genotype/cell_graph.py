"""The graph of a cell: its states, the edges between them, and the candidates on each."""

from __future__ import annotations

import math

#: The candidate operations of an edge, in the order of the columns of the alphas (DARTS).
PRIMITIVES = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)

POOLINGS = ("max_pool_3x3", "avg_pool_3x3")


def state_name(state: int) -> str:
    """Return what text and pictures call a state of a cell; its number is that of the genotype.

    Example:
        >>> [state_name(state) for state in range(4)]
        ['input 0', 'input 1', 'node 2', 'node 3']
    """
    return f"{'input' if state < 2 else 'node'} {state}"


def incoming_edges(steps: int) -> list[slice]:
    """Return the rows of the alphas (entries of the betas) that are the edges into each node.

    Node 2, the first, has 2 incoming edges, each next node one more: one from every earlier state.

    Args:
        steps: Number of nodes of a cell.

    Returns:
        One slice a node; the last one's ``stop`` is the number of edges of the cell.

    Example:
        >>> incoming_edges(3)
        [slice(0, 2, None), slice(2, 5, None), slice(5, 9, None)]
    """
    return [slice(i * (i + 3) // 2, (i + 1) * (i + 4) // 2) for i in range(steps)]


def count_nodes(edges: int) -> int:
    """Return how many nodes the edges of a cell enter: the ``steps`` of :func:`incoming_edges`.

    Example:
        >>> [count_nodes(edges) for edges in (2, 5, 9, 14)]
        [1, 2, 3, 4]
    """
    return (math.isqrt(9 + 8 * edges) - 3) // 2
