"""The derivation of a genotype from scores of its operations: the largest are kept."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adarts_ext.genotype.candidates import (
    Candidates,
    check_candidates,
    choices,
    columns_of,
)
from adarts_ext.genotype.cell_graph import PRIMITIVES, count_nodes, incoming_edges
from adarts_ext.genotype.structure import Genotype

Scores = Sequence[Sequence[Sequence[float]]]  # by nodes, sources and columns


def derive_from_scores(
    scores_normal: Tensor, scores_reduce: Tensor, candidates: Candidates = PRIMITIVES
) -> Genotype:
    """Keep for each node the two incoming edges of the largest scores, with those operations.

    An edge scores what the best of its operations does, and ``none`` is never chosen. A node's two
    edges are listed by falling score. Among equal scores the edge from the earlier state and the
    operation that comes first in the columns win. With ``softmax(alpha) * softmax(beta)`` as scores
    this is :func:`derive`.

    Args:
        scores_normal: Of the operations of the normal cell, (edges, 8), with 2 + 3 + ... edges: 14
            for 4 nodes.
        scores_reduce: The same of the reduction cell.
        candidates: The operations to choose from: names that all edges have, or
            :class:`adarts_ext.nn.EdgeCandidates`. The columns stand for :data:`PRIMITIVES`, and
            then for those of one's own among them, of which there are as many columns more.

    Returns:
        The genotype, its output the concatenation of all nodes.

    Raises:
        ValueError: If a shape does not fit, a score is not finite, or an edge has no candidate but
            ``none``.

    Example:
        >>> scores = torch.zeros(2, 8)
        >>> scores[1, PRIMITIVES.index("sep_conv_3x3")] = 1.0
        >>> derive_from_scores(scores, scores).normal
        (('sep_conv_3x3', 1), ('max_pool_3x3', 0))
    """
    check_candidates("derive_from_scores: candidates", candidates)
    cells = []
    for name, scores in (("scores_normal", scores_normal), ("scores_reduce", scores_reduce)):
        nodes = checked_nodes("derive_from_scores", name, scores, len(columns_of(candidates)))
        check_finite("derive_from_scores", name, scores)
        rows = scores.tolist()
        cells.append([rows[node] for node in nodes])
    return best_scored(*cells, candidates)


def best_scored(normal: Scores, reduce: Scores, candidates: Candidates = PRIMITIVES) -> Genotype:
    """Do what :func:`derive_from_scores` does, on lists that were checked."""
    columns = columns_of(candidates)
    cells, concats = [], []
    for cell, nodes in (("normal", normal), ("reduce", reduce)):
        edges = incoming_edges(len(nodes))
        chosen = choices(candidates, cell, edges[-1].stop)
        pairs = [
            edge
            for node, rows in zip(nodes, edges, strict=True)
            for edge in _best_of_node(node, chosen[rows], columns)
        ]
        cells.append(tuple(pairs))
        concats.append(tuple(range(2, 2 + len(nodes))))
    return Genotype(cells[0], concats[0], cells[1], concats[1])


def _best_of_node(
    node: Sequence[Sequence[float]], chosen: Sequence[Sequence[int]], columns: Sequence[str]
) -> list[tuple[str, int]]:
    best = [
        min((-scores[column], source, column) for column in there)
        for source, (scores, there) in enumerate(zip(node, chosen, strict=True))
    ]
    return [(columns[column], source) for _, source, column in sorted(best)[:2]]


def checked_nodes(function: str, name: str, rows: Tensor, columns: int) -> list[slice]:
    """Return which rows of a tensor, (edges, columns), enter which node; refuse another shape."""
    edges = len(rows) if rows.dim() == 2 else 0
    nodes = incoming_edges(count_nodes(edges))
    if not nodes or tuple(rows.shape) != (nodes[-1].stop, columns):
        raise ValueError(
            f"{function}: {name} has shape {tuple(rows.shape)}, expected "
            f"(edges, {columns}) with 2, 5, 9, 14, ... edges"
        )
    return nodes


def check_finite(function: str, name: str, values: Tensor) -> None:
    """Refuse a tensor with a value that is not finite."""
    if not bool(torch.isfinite(values).all()):
        raise ValueError(f"{function}: {name} holds a value that is not finite")
