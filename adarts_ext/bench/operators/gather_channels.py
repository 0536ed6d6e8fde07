"""gather_channels against index_select of the feature map and of the scores, and their product."""

from __future__ import annotations

import torch

from adarts_ext import ops


def plain(x, scale, index):
    """Call the plain torch sequence."""
    return x.index_select(1, index) * scale.index_select(1, index)[:, :, None, None]


def fused(x, scale, index):
    """Call the operator."""
    return ops.gather_channels(x, index, scale)


def arguments(n: int, c: int, size: int, k: int) -> list[torch.Tensor]:
    """Draw arguments for a batch, channels, side and proportion."""
    return [torch.randn(n, c, size, size), torch.rand(n, c), torch.randperm(c)[: c // k]]


def bytes_moved(n: int, c: int, size: int, k: int) -> tuple[int, int]:
    """The chosen channels twice; backward also the whole gradient of the feature map.

    The fewest bytes of a forward pass, and of a backward pass, in float32.
    """
    one = 4 * n * c // k * size * size
    return 2 * one, (2 + k) * one
