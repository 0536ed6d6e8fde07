"""scatter_channels against the product with the scores and index_copy."""

from __future__ import annotations

import torch

from adarts_ext import ops


def plain(x, update, scale, index):
    """Call the plain torch sequence."""
    return (x * scale[:, :, None, None]).index_copy(1, index, update)


def fused(x, update, scale, index):
    """Call the operator."""
    return ops.scatter_channels(x, index, update, scale)


def arguments(n: int, c: int, size: int, k: int) -> list[torch.Tensor]:
    """Draw arguments for a batch, channels, side and proportion."""
    update = torch.randn(n, c // k, size, size)
    return [torch.randn(n, c, size, size), update, torch.rand(n, c), torch.randperm(c)[: c // k]]


def bytes_moved(n: int, c: int, size: int, k: int) -> tuple[int, int]:
    """The feature map in and out; backward the gradient, the map and its gradient.

    The fewest bytes of a forward pass, and of a backward pass, in float32.
    """
    whole = 4 * n * c * size * size
    return 2 * whole, 3 * whole
