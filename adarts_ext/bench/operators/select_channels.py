"""select_channels against the batch sum and a stable sort, which also puts ties in index order."""

from __future__ import annotations

import torch

from adarts_ext import ops


def plain(scores, k):
    """Call the plain torch sequence."""
    return torch.argsort(scores.sum(0), descending=True, stable=True)[:k]


def fused(scores, k):
    """Call the operator."""
    return ops.select_channels(scores, k)


def arguments(n: int, c: int, size: int, k: int) -> list[torch.Tensor | int]:
    """Draw arguments for a batch, channels, side and proportion."""
    return [torch.rand(n, c), c // k]


def bytes_moved(n: int, c: int, size: int, k: int) -> tuple[int, int]:
    """The scores.

    The fewest bytes of a forward pass, and of a backward pass, in float32.
    """
    return 4 * n * c, 0
