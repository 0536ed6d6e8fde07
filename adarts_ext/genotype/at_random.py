"""Genotypes at random, the baseline of a search."""

from __future__ import annotations

import random

from adarts_ext.genotype.cell_graph import PRIMITIVES
from adarts_ext.genotype.structure import Genotype


def random_genotype(seed: int, steps: int = 4) -> Genotype:
    """Make a genotype at random: the baseline that a search has to beat.

    Each node gets two different sources, all equally likely, each with an operation other than
    ``none``, all equally likely. The same seed gives the same genotype on every machine.

    Args:
        seed: Seed of the random choices.
        steps: Number of nodes of each cell, at least 1.

    Raises:
        ValueError: If ``steps`` is less than 1.

    Example:
        >>> random_genotype(seed=0) == random_genotype(seed=0)
        True
    """
    if steps < 1:
        raise ValueError(f"random_genotype: steps must be at least 1, got {steps}")
    generator = random.Random(seed)
    operations = [name for name in PRIMITIVES if name != "none"]

    def draw_cell() -> tuple[tuple[str, int], ...]:
        return tuple(
            (generator.choice(operations), source)
            for node in range(2, 2 + steps)
            for source in generator.sample(range(node), 2)
        )

    concat = tuple(range(2, 2 + steps))
    return Genotype(draw_cell(), concat, draw_cell(), concat)
