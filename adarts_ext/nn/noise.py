"""The candidate that carries no information: noise."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adarts_ext.nn.own_candidates import register_candidate
from adarts_ext.nn.processes import whole_batch


class Noise(nn.Module):
    """Noise from N(0, 1), drawn anew in every pass, also in evaluation (R-DARTS, arXiv 1909.09656).

    The candidate ``noise`` of its space S4. It is registered as a candidate of one's own is, and
    no kernels know it.

    Args:
        stride: 1, or 2 to halve height and width.

    Shape:
        (N, C, H, W) to (N, C, H / stride, W / stride), without a gradient.

    Example:
        >>> Noise(stride=2)(torch.ones(1, 3, 8, 8)).shape
        torch.Size([1, 3, 4, 4])
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        pixels = x[:, :, :: self.stride, :: self.stride]
        images, own = whole_batch(len(x))  # of which this process takes its part
        shape = (images, *pixels.shape[1:])
        return torch.randn(shape, dtype=x.dtype, device=x.device)[own]

    def extra_repr(self) -> str:
        return f"stride={self.stride}"


register_candidate("noise", lambda channels, stride, affine: Noise(stride))
