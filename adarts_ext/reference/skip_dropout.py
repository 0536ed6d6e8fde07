"""Dropout on skip connections: which values are kept, by a hash of their places."""

from __future__ import annotations

import torch
from torch import Tensor

from adarts_ext.reference.image_blocks import LANES

WORD = 2**32


def kept_values(dropout: Tensor, x: Tensor) -> Tensor:
    """Return which values of a feature map a skip connection keeps (P-DARTS, arXiv 1904.12760).

    A value is dropped where the hash of its place is below a share of ``2^32``, so the same numbers
    give the same values again, and nothing of it has to be kept. Those that are kept stay what they
    are: who wants the mean to stay too divides by the share of them.

    Args:
        dropout: (2,) int64: a number that draws, and how many of ``2^32`` values are dropped.
        x: The feature map, (N, C, H, W).

    Returns:
        1 for what is kept and 0 for what is dropped, as ``x``.

    Example:
        >>> x = torch.ones(16, 4, 16, 16)
        >>> kept = kept_values(torch.tensor([7, WORD // 4]), x)
        >>> round(kept.mean().item(), 1), sorted(set(kept.flatten().tolist()))
        (0.7, [0.0, 1.0])
    """
    images, channels, *size = x.shape
    pixels = size[0] * size[1]
    n, c, p = (torch.arange(count, device=x.device) for count in (images, channels, pixels))
    channel = (n // LANES)[:, None] * channels + c
    place = (channel[..., None] * pixels + p) * LANES + (n % LANES)[:, None, None]
    low, high = dropout[0] & (WORD - 1), dropout[0] >> 32
    value = (place & (WORD - 1)) ^ low
    value = value ^ (value >> 16)
    value = (value * 0x7FEB352D + high) & (WORD - 1)
    value = value ^ (value >> 15)
    value = (value * 0x846CA68B) & (WORD - 1)
    value = value ^ (value >> 16)
    return (value >= dropout[1]).to(x.dtype).view(x.shape)
