"""channel_attention against both pools, two 1x1 convolutions of each, the sum and the sigmoid."""

from __future__ import annotations

import torch
from torch.nn import functional

from adarts_ext import ops


def plain(x, w1, w2):
    """Call the plain torch sequence."""
    average = functional.adaptive_avg_pool2d(x, 1)
    maximum = functional.adaptive_max_pool2d(x, 1)
    average = functional.conv2d(functional.relu(functional.conv2d(average, w1)), w2)
    maximum = functional.conv2d(functional.relu(functional.conv2d(maximum, w1)), w2)
    return torch.sigmoid(average + maximum)


def fused(x, w1, w2):
    """Call the operator."""
    return ops.channel_attention(x, w1, w2)


def arguments(n: int, c: int, size: int, k: int) -> list[torch.Tensor]:
    """Draw arguments for a batch, channels, side and proportion."""
    weights = [torch.randn(c // 2, c, 1, 1), torch.randn(c, c // 2, 1, 1)]
    weights = [weight / weight.size(1) ** 0.5 for weight in weights]  # the sigmoid stays alive
    return [torch.randn(n, c, size, size), *weights]


def bytes_moved(n: int, c: int, size: int, k: int) -> tuple[int, int]:
    """The feature map read once; backward its gradient written once.

    The fewest bytes of a forward pass, and of a backward pass, in float32.
    """
    whole = 4 * n * c * size * size
    return whole, whole
