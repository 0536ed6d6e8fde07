"""Channel attention: how important each channel of a feature map is."""

from __future__ import annotations

from torch import Tensor, nn

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
