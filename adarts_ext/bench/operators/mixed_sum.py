"""mixed_sum against DARTS's ``sum(w * x for w, x in zip(weights, inputs))``."""

from __future__ import annotations

import torch

from adarts_ext import ops


def plain(weights, *inputs):
    """Call the plain torch sequence."""
    return sum(w * x for w, x in zip(weights, inputs, strict=True))


def fused(weights, *inputs):
    """Call the operator."""
    return ops.mixed_sum(inputs, weights)


def arguments(n: int, c: int, size: int, k: int) -> list[torch.Tensor]:
    """Draw arguments for a batch, channels, side and proportion."""
    # seven candidates: `none` gives zeros
    return [torch.rand(7), *(torch.randn(n, c // k, size, size) for _ in range(7))]


def bytes_moved(n: int, c: int, size: int, k: int) -> tuple[int, int]:
    """Seven inputs and the result; backward the gradient, the inputs and theirs.

    The fewest bytes of a forward pass, and of a backward pass, in float32.
    """
    one = 4 * n * c // k * size * size
    return 8 * one, 15 * one
