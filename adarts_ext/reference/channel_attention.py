"""Channel attention in plain torch: the definition of :func:`adarts_ext.ops.channel_attention`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def channel_attention(x: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
    """Score the channels of a feature map by CBAM's channel attention.

    ``sigmoid(w2 relu(w1 average(x)) + w2 relu(w1 maximum(x)))`` with the average and the maximum
    taken over the plane (CBAM, arXiv 1807.06521, equation 2; ADARTS, arXiv 2208.00791).

    Args:
        x: Feature map ``(N, C, H, W)``, floating point.
        w1: Weight of the first 1x1 convolution, ``(R, C)`` or ``(R, C, 1, 1)``.
        w2: Weight of the second 1x1 convolution, ``(C, R)`` or ``(C, R, 1, 1)``.

    Returns:
        Scores ``(N, C)`` in (0, 1), in the dtype of ``x``.

    Example:
        >>> channel_attention(torch.zeros(2, 4, 8, 8), torch.ones(2, 4), torch.ones(4, 2))
        tensor([[0.5000, 0.5000, 0.5000, 0.5000],
                [0.5000, 0.5000, 0.5000, 0.5000]])
    """
    w1, w2 = w1.flatten(1), w2.flatten(1)
    average = functional.adaptive_avg_pool2d(x, 1).flatten(1)
    maximum = functional.adaptive_max_pool2d(x, 1).flatten(1)
    hidden_average = functional.relu(functional.linear(average, w1))
    hidden_maximum = functional.relu(functional.linear(maximum, w1))
    return torch.sigmoid(
        functional.linear(hidden_average, w2) + functional.linear(hidden_maximum, w2)
    )
