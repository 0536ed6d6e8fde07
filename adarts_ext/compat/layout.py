"""Feature maps that remember their image blocks, so that the next cell need not make them again."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from adarts_ext.nn import fused
from adarts_ext.nn.fused import ImageBlocks
from adarts_ext.ops import from_image_blocks

_NAME = "_adarts_image_blocks"


def remember(nodes: ImageBlocks) -> Tensor:
    """Give the feature map of image blocks, which remembers them."""
    x = fused.feature_map(nodes)
    _note(x, nodes.blocks)
    return x


def lay_out(x: Tensor) -> ImageBlocks:
    """Give the image blocks of a feature map: those it remembers, unless x was changed since.

    The gradient goes through x in any case, so hooks on x, and gradients with respect to it, are
    what they would be without.
    """
    if torch.compiler.is_compiling():
        return fused.lay_out(x)
    blocks, version = x.__dict__.get(_NAME, (None, None))
    if blocks is not None and version == x._version and blocks.dtype == fused.compute_dtype(x):
        return ImageBlocks(_Remembered.apply(x, blocks), x.size(0))
    laid_out = fused.lay_out(x)
    _note(x, laid_out.blocks)
    return laid_out


def _note(x: Tensor, blocks: Tensor) -> None:
    if not torch.compiler.is_compiling() and not torch.is_inference(x):
        setattr(x, _NAME, (blocks.detach(), x._version))


class _Remembered(torch.autograd.Function):
    """``to_image_blocks`` whose result is there already."""

    @staticmethod
    def forward(ctx, x, blocks):
        ctx.batch, ctx.dtype = x.size(0), x.dtype
        return blocks.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        return from_image_blocks(grad.contiguous(), ctx.batch).to(ctx.dtype), None
