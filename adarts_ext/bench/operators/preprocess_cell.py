"""preprocess_cell against ReLU, 1x1 convolution and BatchNorm, at stride 2 FactorizedReduce.

Plain torch takes feature maps, ours image blocks, as a network hands them from cell to cell. (Part
``ops`` leaves it out: part ``cell`` measures it with the cell that it belongs to.)
"""

from __future__ import annotations

import torch
from torch.nn import functional

from adarts_ext import ops


def plain(x, weights, stride):
    """Call the plain torch sequence."""
    x = functional.relu(x)
    if stride == 1:
        out = functional.conv2d(x, weights)
    else:
        pixels = x[:, :, ::2, ::2], x[:, :, 1::2, 1::2]
        out = torch.cat(list(map(functional.conv2d, pixels, weights.chunk(2))), dim=1)
    return functional.batch_norm(out, None, None, training=True)


def fused(blocks, weights, batch, stride):
    """Call the operator."""
    return ops.preprocess_cell(blocks, weights, batch, stride)[0]


def arguments(n: int, c: int, size: int, stride: int) -> list[torch.Tensor | int]:
    """Draw arguments for a batch, channels and side of the result, and a stride."""
    channels = 4 * c // stride  # those of the cell before, and of the one before a reduction
    x = torch.randn(n, channels, stride * size, stride * size)
    return [x, torch.randn(c, channels, 1, 1), stride]


def as_blocks(x, weights, stride) -> list[torch.Tensor | int]:
    """Lay the arguments of ``plain`` out for ``fused``."""
    blocks = ops.to_image_blocks(x.detach()).requires_grad_()
    return [blocks, weights.detach().flatten(1).requires_grad_(), x.size(0), stride]


def bytes_moved(n: int, c: int, size: int, stride: int) -> tuple[int, int]:
    """The input and the result; backward the gradient, the result, the input and its gradient.

    The fewest bytes of a forward pass, and of a backward pass, in float32.
    """
    out = 4 * n * c * size * size
    x = 4 * stride * out
    return x + out, 2 * out + 2 * x
