"""Genotypes at random, the baseline of a search."""

from __future__ import annotations

import random

from adarts_ext.genotype.candidates import Candidates, check_candidates, on_every_edge
from adarts_ext.genotype.cell_graph import PRIMITIVES, incoming_edges
from adarts_ext.genotype.structure import Genotype


def random_genotype(seed: int, steps: int = 4, candidates: Candidates = PRIMITIVES) -> Genotype:
    """Make a genotype at random: the baseline that a search has to beat.

    Each node gets two different sources, all equally likely, each with one of its edge's candidates
    other than ``none``, all equally likely. The same seed gives the same genotype on every machine.

    Args:
        seed: Seed of the random choices.
        steps: Number of nodes of each cell, at least 1.
        candidates: Those of the search that it is compared with, of all edges or of each.

    Raises:
        ValueError: If ``steps`` is less than 1, or the candidates are not known or not of so many
            edges.

    Example:
        >>> random_genotype(seed=0) == random_genotype(seed=0)
        True
    """
    if steps < 1:
        raise ValueError(f"random_genotype: steps must be at least 1, got {steps}")
    check_candidates("random_genotype", candidates)
    generator, nodes = random.Random(seed), incoming_edges(steps)

    def draw_cell(cell: str) -> tuple[tuple[str, int], ...]:
        names = on_every_edge("random_genotype", candidates, cell, nodes[-1].stop)
        return tuple(
            (generator.choice([name for name in names[edges][source] if name != "none"]), source)
            for edges in nodes
            for source in generator.sample(range(edges.stop - edges.start), 2)
        )

    concat = tuple(range(2, 2 + steps))
    return Genotype(draw_cell("normal"), concat, draw_cell("reduce"), concat)
