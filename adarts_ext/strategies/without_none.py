"""Search spaces without the candidate ``none``: here its weight is 0, which is the same."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import pad

from adarts_ext.genotype import PRIMITIVES

FIRST = PRIMITIVES.index("none") + 1  # it comes before the others


def without_none(alphas: Tensor) -> Tensor:
    """Return the alphas of the other candidates, (edges, 7), or more with those of one's own."""
    return alphas[:, FIRST:]


def with_none(weights: Tensor) -> Tensor:
    """Put a weight of 0 for ``none`` before those of the others, (edges, 7) to (edges, 8)."""
    return pad(weights, (FIRST, 0))
