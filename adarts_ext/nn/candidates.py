"""Spaces of candidates, and which candidates take part in a pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adarts_ext.arguments import naming
from adarts_ext.genotype import PRIMITIVES
from adarts_ext.genotype.candidates import Candidates, EdgeCandidates, check_candidates

#: The alpha of a candidate that there is not: its softmax is 0, to the bit, also in float64, and
#: neither a learning rate nor weight decay brings it near the others.
LEFT_OUT = -1e4

_SKIP_DIL3, _SKIP_DIL5 = ("skip_connect", "dil_conv_3x3"), ("skip_connect", "dil_conv_5x5")
_SKIP_SEP3, _MAX_SKIP = ("skip_connect", "sep_conv_3x3"), ("max_pool_3x3", "skip_connect")
_DILATED, _POOLS = ("dil_conv_3x3", "dil_conv_5x5"), ("max_pool_3x3", "avg_pool_3x3")

#: Spaces of candidates by name. S1 to S4 are those of R-DARTS (arXiv 1909.09656, section 3); the
#: pairs of S1 are in its code only (automl/RobustDARTS, src/spaces.py).
SPACES: dict[str, Candidates] = {
    "darts": PRIMITIVES,
    "s1": EdgeCandidates(  # a line a node
        normal=(
            *(_SKIP_DIL3, _SKIP_DIL5),
            *(_SKIP_DIL5, _SKIP_SEP3, _SKIP_DIL3),
            *(_MAX_SKIP, _SKIP_SEP3, _SKIP_SEP3, _SKIP_DIL3),
            *(_SKIP_SEP3, _MAX_SKIP, _SKIP_DIL3, _DILATED, _DILATED),
        ),
        reduce=(
            *(_POOLS, ("max_pool_3x3", "dil_conv_3x3")),
            *(_POOLS, _POOLS, _SKIP_DIL5),
            *(_POOLS, ("max_pool_3x3", "sep_conv_3x3"), _SKIP_DIL3, _SKIP_DIL5),
            *(_POOLS, _POOLS, _SKIP_DIL5, _SKIP_DIL5, _SKIP_DIL5),
        ),
    ),
    "s2": ("skip_connect", "sep_conv_3x3"),
    "s3": ("none", "skip_connect", "sep_conv_3x3"),
    "s4": ("noise", "sep_conv_3x3"),
}


def present(alphas: Tensor) -> Tensor:
    """Return which candidates there are, booleans in the shape of the alphas.

    Args:
        alphas: Those of a kind of cell of a :class:`~adarts_ext.nn.SearchNetwork`, (edges, 8).
    """
    return alphas.detach() > LEFT_OUT / 2


def names_of(chosen: Tensor, columns: Sequence[str] = PRIMITIVES) -> tuple[tuple[str, ...], ...]:
    """Return the names of candidates, edge by edge.

    Args:
        chosen: Which they are, booleans (edges, 8).
        columns: The operations that they are of.

    Example:
        >>> alphas = torch.zeros(1, 8)
        >>> alphas[0, 1:7] = LEFT_OUT
        >>> names_of(present(alphas))
        (('none', 'dil_conv_5x5'),)
    """
    return tuple(
        tuple(name for name, here in zip(columns, row, strict=True) if here)
        for row in chosen.tolist()
    )


def mask_of(candidates: Sequence[str], columns: Sequence[str] = PRIMITIVES) -> int:
    """Return the mask of candidates, bit o that of columns[o].

    Example:
        >>> bin(mask_of(["skip_connect", "none"]))
        '0b1001'
    """
    return sum(1 << columns.index(name) for name in candidates)


def nonzero_masks(weights: Tensor) -> tuple[int, ...]:
    """Return the mask of each edge's candidates that do not weigh exactly 0.

    It waits for the device to have them.

    Args:
        weights: (edges, candidates).

    Example:
        >>> nonzero_masks(torch.eye(8)[:3])
        (1, 2, 4)
    """
    bits = 2 ** torch.arange(weights.shape[-1], device=weights.device)
    return tuple(((weights.detach() != 0) * bits).sum(-1).tolist())


def parse_space(text: str) -> Candidates:
    """Return the candidates that an option names.

    Args:
        text: A name of :data:`SPACES`, or names of candidates set apart by commas, those of one's
            own too. ``darts`` among them stands for the eight of PRIMITIVES.

    Raises:
        ValueError: If it is neither, a candidate is there twice, or there is none but ``none``.

    Example:
        >>> parse_space("s3")
        ('none', 'skip_connect', 'sep_conv_3x3')
        >>> parse_space("max_pool_3x3, dil_conv_5x5")
        ('max_pool_3x3', 'dil_conv_5x5')
        >>> parse_space("darts, noise")[-2:]
        ('dil_conv_5x5', 'noise')
    """
    if text in SPACES:
        return SPACES[text]
    each = [name.strip() for name in text.split(",")]
    names = tuple(name for one in each for name in (PRIMITIVES if one == "darts" else (one,)))
    try:
        check_candidates("space", names)
    except ValueError as error:
        message = f"{error}; expected such names set apart by commas, or {', '.join(SPACES)}"
        raise naming(ValueError(message), "space") from None
    return names
