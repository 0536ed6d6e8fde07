"""Which of the candidate operations there are, and which of them take part in a pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from adarts_ext.arguments import naming, suggestion
from adarts_ext.genotype import PRIMITIVES

#: The alpha of a candidate that there is not: its softmax is 0, to the bit, also in float64, and
#: neither a learning rate nor weight decay brings it near the others.
LEFT_OUT = -1e4

#: Spaces of candidates by name. S2 and S3 are those of R-DARTS (arXiv 1909.09656, section 3).
SPACES = {
    "darts": PRIMITIVES,
    "s2": ("skip_connect", "sep_conv_3x3"),
    "s3": ("none", "skip_connect", "sep_conv_3x3"),
}


class EdgeCandidates(NamedTuple):
    """The candidates of every edge, where they differ from edge to edge.

    Args:
        normal: Those of the normal cells: names of PRIMITIVES, edge by edge.
        reduce: Likewise those of the reduction cells.
    """

    normal: tuple[tuple[str, ...], ...]
    reduce: tuple[tuple[str, ...], ...]


def on_every_edge(
    owner: str, candidates: Sequence[str] | Sequence[Sequence[str]], edges: int
) -> tuple[tuple[str, ...], ...]:
    """Return the candidates edge by edge.

    Args:
        owner: Whose they are, for errors.
        candidates: Names, the same on every edge, or names edge by edge.
        edges: How many edges there are.

    Raises:
        ValueError: If an edge has candidates that :func:`check_candidates` refuses, or there are
            not as many edges.

    Example:
        >>> on_every_edge("Cell", ["none", "skip_connect"], 2)
        (('none', 'skip_connect'), ('none', 'skip_connect'))
    """
    if all(isinstance(one, str) for one in candidates):
        candidates = [candidates] * edges
    if len(candidates) != edges:
        raise ValueError(
            f"{owner}: expected candidates of each of {edges} edges, got those of {len(candidates)}"
        )
    for one in candidates:
        check_candidates(owner, one)
    return tuple(map(tuple, candidates))


def present(alphas: Tensor) -> Tensor:
    """Return which candidates there are, booleans in the shape of the alphas.

    Args:
        alphas: Those of a kind of cell of a :class:`~adarts_ext.nn.SearchNetwork`, (edges, 8).
    """
    return alphas.detach() > LEFT_OUT / 2


def names_of(chosen: Tensor) -> tuple[tuple[str, ...], ...]:
    """Return the names of candidates, edge by edge.

    Args:
        chosen: Which they are, booleans (edges, 8).

    Example:
        >>> alphas = torch.zeros(1, 8)
        >>> alphas[0, 1:7] = LEFT_OUT
        >>> names_of(present(alphas))
        (('none', 'dil_conv_5x5'),)
    """
    return tuple(
        tuple(name for name, here in zip(PRIMITIVES, row, strict=True) if here)
        for row in chosen.tolist()
    )


def mask_of(candidates: Sequence[str]) -> int:
    """Return the mask of candidates, bit o that of PRIMITIVES[o].

    Example:
        >>> bin(mask_of(["skip_connect", "none"]))
        '0b1001'
    """
    return sum(1 << PRIMITIVES.index(name) for name in candidates)


def nonzero_masks(weights: Tensor) -> tuple[int, ...]:
    """Return the mask of each edge's candidates that do not weigh exactly 0.

    It waits for the device to have them.

    Args:
        weights: (edges, 8).

    Example:
        >>> nonzero_masks(torch.eye(8)[:3])
        (1, 2, 4)
    """
    bits = 2 ** torch.arange(len(PRIMITIVES), device=weights.device)
    return tuple(((weights.detach() != 0) * bits).sum(-1).tolist())


def parse_space(text: str) -> tuple[str, ...]:
    """Return the candidates that an option names.

    Args:
        text: A name of :data:`SPACES`, or some of PRIMITIVES set apart by commas.

    Raises:
        ValueError: If it is neither, a candidate is there twice, or there is none but ``none``.

    Example:
        >>> parse_space("s3")
        ('none', 'skip_connect', 'sep_conv_3x3')
        >>> parse_space("max_pool_3x3, dil_conv_5x5")
        ('max_pool_3x3', 'dil_conv_5x5')
    """
    if text in SPACES:
        return SPACES[text]
    names = tuple(name.strip() for name in text.split(","))
    try:
        check_candidates("space", names)
    except ValueError as error:
        message = f"{error}; expected such names set apart by commas, or {', '.join(SPACES)}"
        raise naming(ValueError(message), "space") from None
    return names


def check_candidates(owner: str, candidates: Sequence[str]) -> None:
    """Raise ValueError unless candidates are different ones of PRIMITIVES, one beside ``none``."""
    for name in candidates:
        if name not in PRIMITIVES:
            raise ValueError(
                f"{owner}: expected candidates of {', '.join(PRIMITIVES)}, got {name!r}"
                f"{suggestion(name, PRIMITIVES)}"
            )
    if len(set(candidates)) < len(candidates):
        raise ValueError(f"{owner}: expected every candidate once, got {', '.join(candidates)}")
    if not set(candidates) - {"none"}:
        raise ValueError(f"{owner}: expected at least one candidate that is not none")
