"""Efficient channel attention in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def efficient_channel_attention(x: Tensor, weight: Tensor) -> Tensor:
    """Score the channels of a feature map by a convolution over their averages.

    ``sigmoid(weight * average(x))``, a 1-D convolution along the channels with zeros beyond them
    and the average taken over the plane (ECA-Net, arXiv 1910.03151, equation 9).

    Args:
        x: Feature map ``(N, C, H, W)``, floating point.
        weight: Of the convolution, ``(1, 1, k)``, k odd.

    Returns:
        Scores ``(N, C)`` in (0, 1), in the dtype of ``x``.

    Example:
        >>> efficient_channel_attention(torch.zeros(2, 4, 8, 8), torch.ones(1, 1, 3))
        tensor([[0.5000, 0.5000, 0.5000, 0.5000],
                [0.5000, 0.5000, 0.5000, 0.5000]])
    """
    average = functional.adaptive_avg_pool2d(x, 1).flatten(2).transpose(1, 2)  # (N, 1, C)
    return torch.sigmoid(functional.conv1d(average, weight, padding=weight.size(2) // 2)).squeeze(1)
