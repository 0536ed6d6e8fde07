"""Genotypes whose normal cell has few skip connections."""

from __future__ import annotations

from adarts_ext.genotype.candidates import Candidates
from adarts_ext.genotype.cell_graph import PRIMITIVES
from adarts_ext.genotype.scores import Scores, best_scored
from adarts_ext.genotype.structure import Genotype

NONE, SKIP = PRIMITIVES.index("none"), PRIMITIVES.index("skip_connect")


def with_few_skips(
    normal: Scores, reduce: Scores, most: int, candidates: Candidates = PRIMITIVES
) -> Genotype:
    """Derive the genotype of the largest scores with a limit to the normal cell's skip connections.

    As long as it has more, the one that scores least no longer counts, and the cell is derived
    again (P-DARTS, arXiv 1904.12760, section 3.3, and its code). An edge that has nothing else
    keeps its skip connection.

    Args:
        normal: The scores of the normal cell's operations, a list a node of an entry a source, 0
            for those that an edge does not have, the others above.
        reduce: Likewise those of the reduction cell.
        most: How many skip connections the normal cell may have.
        candidates: The operations to choose from, as those of
            :func:`adarts_ext.genotype.derive_from_scores`.

    Example:
        >>> edge = [0, 0.1, 0, 0.9, 0, 0.2, 0, 0]
        >>> with_few_skips([[edge, edge]], [[edge, edge]], 1).normal
        (('skip_connect', 1), ('sep_conv_5x5', 0))
    """
    scores = [[list(edge) for edge in node] for node in normal]
    while True:
        genotype = best_scored(scores, reduce, candidates)
        skips = [
            scores[place // 2][source]
            for place, (operation, source) in enumerate(genotype.normal)
            if operation == "skip_connect"
        ]
        others = [edge for edge in skips if any(_others(edge))]
        if len(skips) <= most or not others:
            return genotype
        min(others, key=lambda edge: edge[SKIP])[SKIP] = 0.0


def _others(edge: list[float]) -> list[float]:
    return [score for place, score in enumerate(edge) if place not in (NONE, SKIP)]
