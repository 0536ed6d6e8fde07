"""The derivation of a genotype from scores of its operations: the largest are kept."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adarts_ext.genotype.cell_graph import PRIMITIVES, count_nodes, incoming_edges
from adarts_ext.genotype.structure import Genotype

Scores = Sequence[Sequence[Sequence[float]]]  # a list a node of an entry a source, for PRIMITIVES


def derive_from_scores(
    scores_normal: Tensor, scores_reduce: Tensor, candidates: Sequence[str] = PRIMITIVES
) -> Genotype:
    """Keep for each node the two incoming edges of the largest scores, with those operations.

    An edge scores what the best of its operations does, and ``none`` is never chosen. A node's two
    edges are listed by falling score. Among equal scores the edge from the earlier state and the
    operation that comes first in :data:`PRIMITIVES` win. With
    ``softmax(alpha) * softmax(beta)`` as scores this is :func:`derive`.

    Args:
        scores_normal: Of the operations of the normal cell, (edges, 8), with 2 + 3 + ... edges: 14
            for 4 nodes. Minus infinity is that of an operation which an edge does not have.
        scores_reduce: The same of the reduction cell.
        candidates: The operations to choose from, some of :data:`PRIMITIVES`.

    Returns:
        The genotype, its output the concatenation of all nodes.

    Raises:
        ValueError: If a shape does not fit, a score is not finite otherwise, or there is no
            candidate but ``none``.

    Example:
        >>> scores = torch.zeros(2, 8)
        >>> scores[1, PRIMITIVES.index("sep_conv_3x3")] = 1.0
        >>> derive_from_scores(scores, scores).normal
        (('sep_conv_3x3', 1), ('max_pool_3x3', 0))
    """
    if not set(candidates) & set(PRIMITIVES) - {"none"}:
        listed = ", ".join(PRIMITIVES)
        raise ValueError(
            f"derive_from_scores: candidates: expected some of {listed}, got {candidates}"
        )
    absent = [place for place, name in enumerate(PRIMITIVES) if name not in candidates]
    cells = []
    for name, scores in (("scores_normal", scores_normal), ("scores_reduce", scores_reduce)):
        nodes = checked_nodes("derive_from_scores", name, scores)
        check_finite("derive_from_scores", name, scores[scores != -torch.inf])
        rows = scores.detach().clone()
        rows[:, absent] = -torch.inf
        rows = rows.tolist()
        cells.append([rows[node] for node in nodes])
    return best_scored(*cells)


def best_scored(normal: Scores, reduce: Scores) -> Genotype:
    """Do what :func:`derive_from_scores` does, on lists that were checked."""
    cells = [
        tuple(edge for node in cell for edge in _best_of_node(node)) for cell in (normal, reduce)
    ]
    concats = [tuple(range(2, 2 + len(cell) // 2)) for cell in cells]
    return Genotype(cells[0], concats[0], cells[1], concats[1])


def _best_of_node(node: Sequence[Sequence[float]]) -> list[tuple[str, int]]:
    best = [
        min(
            (-score, source, index)
            for index, score in enumerate(scores)
            if PRIMITIVES[index] != "none"
        )
        for source, scores in enumerate(node)
    ]
    return [(PRIMITIVES[index], source) for _, source, index in sorted(best)[:2]]


def checked_nodes(function: str, name: str, rows: Tensor) -> list[slice]:
    """Return which rows of a tensor, (edges, 8), enter which node; refuse another shape."""
    edges = len(rows) if rows.dim() == 2 else 0
    nodes = incoming_edges(count_nodes(edges))
    if not nodes or tuple(rows.shape) != (nodes[-1].stop, len(PRIMITIVES)):
        raise ValueError(
            f"{function}: {name} has shape {tuple(rows.shape)}, expected "
            f"(edges, {len(PRIMITIVES)}) with 2, 5, 9, 14, ... edges"
        )
    return nodes


def check_finite(function: str, name: str, values: Tensor) -> None:
    """Refuse a tensor with a value that is not finite."""
    if not bool(torch.isfinite(values).all()):
        raise ValueError(f"{function}: {name} holds a value that is not finite")
