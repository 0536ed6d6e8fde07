"""Channel attentions: how important each channel of a feature map is."""

from __future__ import annotations

import math

from torch import Tensor, nn

from adarts_ext import reference
from adarts_ext.nn.backend import BACKENDS, check_backend
from adarts_ext.nn.checks import check_at_least, check_feature_map


class ChannelAttention(nn.Module):
    """Score the channels of a feature map by CBAM's channel attention.

    ``M = sigmoid(fc2(relu(fc1(average(x)))) + fc2(relu(fc1(maximum(x)))))``, with the average and
    the maximum taken over the plane and the same two bias-free 1x1 convolutions for both (CBAM,
    arXiv 1807.06521, equation 2; ADARTS, arXiv 2208.00791).

    Args:
        channels: Channels C of the input.
        reduction: The hidden layer has ``channels // reduction`` units.
        backend: ``"fused"`` for the compiled operator, ``"reference"`` for plain torch.

    Shape:
        (N, C, H, W) to (N, C), each score between 0 and 1.

    Raises:
        ValueError: If there would be no hidden unit, the backend is unknown, or the input is not
            (N, C, H, W).
        TypeError: If the input is no tensor.

    Example:
        >>> import torch
        >>> ChannelAttention(8)(torch.randn(2, 8, 4, 4)).shape
        torch.Size([2, 8])
    """

    def __init__(self, channels: int, reduction: int = 2, backend: str = "fused") -> None:
        super().__init__()
        check_at_least("ChannelAttention", 1, reduction=reduction)
        check_at_least("ChannelAttention", reduction, channels=channels)
        check_backend("ChannelAttention", backend)
        self.channels = channels
        self.backend = backend
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        check_feature_map("ChannelAttention", x, self.channels)
        return BACKENDS[self.backend].channel_attention(x, self.fc1.weight, self.fc2.weight)

    def extra_repr(self) -> str:
        return f"channels={self.channels}, backend={self.backend}"


class EfficientChannelAttention(nn.Module):
    """Score the channels of a feature map by a convolution over their averages.

    ``M = sigmoid(conv(average(x)))``, a bias-free 1-D convolution along the channels of k taps, k
    the odd number at or after ``(log2(C) + 1) / 2`` (ECA-Net, arXiv 1910.03151, equations 9 and
    12). It has k weights where :class:`ChannelAttention` has C * C.

    Args:
        channels: Channels C of the input.

    Shape:
        (N, C, H, W) to (N, C), each score between 0 and 1.

    Raises:
        ValueError: If there is no channel, or the input is not (N, C, H, W).
        TypeError: If the input is no tensor.

    Example:
        >>> import torch
        >>> attention = EfficientChannelAttention(8)
        >>> attention(torch.randn(2, 8, 4, 4)).shape, attention.conv.weight.shape
        (torch.Size([2, 8]), torch.Size([1, 1, 3]))
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        check_at_least("EfficientChannelAttention", 1, channels=channels)
        self.channels = channels
        taps = int((math.log2(channels) + 1) / 2) // 2 * 2 + 1
        self.conv = nn.Conv1d(1, 1, taps, padding=taps // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        check_feature_map("EfficientChannelAttention", x, self.channels)
        return reference.efficient_channel_attention(x, self.conv.weight)

    def extra_repr(self) -> str:
        return f"channels={self.channels}"


ATTENTIONS = ("cbam", "eca")


def build_attention(name: str, channels: int, backend: str) -> nn.Module:
    """Make the attention of a name, one of :data:`ATTENTIONS`."""
    if name == "eca":
        return EfficientChannelAttention(channels)
    return ChannelAttention(channels, backend=backend)
