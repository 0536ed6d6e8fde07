"""The memory layout of the fused search cell; laying out is plain torch, which copies well."""

from __future__ import annotations

import torch
from torch import Tensor

from adarts_ext import reference
from adarts_ext.ops.operator import operator
from adarts_ext.reference.image_blocks import LANES, check_image_blocks_of

__all__ = ["LANES", "from_image_blocks", "to_image_blocks"]

to_image_blocks = operator(reference.to_image_blocks)


@operator
def from_image_blocks(blocks: Tensor, batch: int) -> Tensor:
    """Return the feature map ``(N, C, H, W)`` that :func:`to_image_blocks` laid out.

    Args:
        blocks: ``(ceil(N / 16), C, H, W, 16)``.
        batch: N.

    Raises:
        ValueError: If the shape does not fit.

    Example:
        >>> x = torch.randn(3, 2, 4, 4)
        >>> torch.equal(from_image_blocks(to_image_blocks(x), 3), x)
        True
    """
    if torch.compiler.is_compiling() or blocks.device.type != "cpu":
        return reference.from_image_blocks(blocks, batch)
    return _FromImageBlocks.apply(blocks, batch)


class _FromImageBlocks(torch.autograd.Function):
    """Block by block: on the CPU torch transposes matrices three times as fast as other layouts."""

    @staticmethod
    def forward(ctx, blocks, batch):
        check_image_blocks_of(blocks, batch)
        x = blocks.new_empty(batch, *blocks.shape[1:4])  # no view, which nobody could write to
        for start, block in zip(range(0, batch, LANES), blocks.contiguous(), strict=True):
            images, some = block.flatten(0, 2).t(), x[start : start + LANES]
            if len(some) < LANES:
                images = images.contiguous()[: len(some)]
            some.flatten(1).copy_(images)
        return x

    @staticmethod
    def backward(ctx, grad):
        return to_image_blocks(grad), None
