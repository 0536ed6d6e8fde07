"""normalized_mixed_sum against a BatchNorm for each candidate and their weighted sum."""

from __future__ import annotations

import torch
from torch.nn import functional

from adarts_ext import ops

#: Of the seven candidates only skip_connect has no BatchNorm.
NORMALIZED = [True, True, False, True, True, True, True]


def plain(weights, *inputs):
    """Call the plain torch sequence."""
    terms = [
        functional.batch_norm(x, None, None, training=True) if normalized else x
        for x, normalized in zip(inputs, NORMALIZED, strict=True)
    ]
    return sum(w * x for w, x in zip(weights, terms, strict=True))


def fused(weights, *inputs):
    """Call the operator."""
    return ops.normalized_mixed_sum(inputs, weights, NORMALIZED).out


def arguments(n: int, c: int, size: int, k: int) -> list[torch.Tensor]:
    """Draw arguments for a batch, channels, side and proportion."""
    # seven candidates: `none` gives zeros
    return [torch.rand(7), *(torch.randn(n, c // k, size, size) for _ in range(7))]


def bytes_moved(n: int, c: int, size: int, k: int) -> tuple[int, int]:
    """The six that are normalized twice, all once, the result; see below for backward.

    The fewest bytes of a forward pass, and of a backward pass, in float32. Backward needs the
    gradient and the inputs for the sums, then the gradient and those that are normalized, and
    writes the seven gradients.
    """
    one = 4 * n * c // k * size * size
    return (6 + 7 + 1) * one, (8 + 7 + 7) * one
