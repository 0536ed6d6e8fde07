"""Feature maps whose image blocks are remembered, so that later cells need not make them again.

Those are what a cell gives, and what a cell takes from elsewhere, as the stem's, for backward.

They are kept beside the feature maps, which are saved and copied without them. A change in place
is noticed by the version that torch counts. As torch's own gradients, this does not see what is
written through ``.data``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from adarts_ext.nn.image_blocks import ImageBlocks, compute_dtype, feature_map, lay_out
from adarts_ext.ops import from_image_blocks, to_image_blocks


@dataclass
class _Memory:
    """The image blocks of a feature map as long as that is not written to.

    ``shared`` are the same with a way back for gradients, for all cells that take the feature map.
    """

    version: int
    blocks: Tensor
    shared: Tensor | None = None


_memories = WeakTensorKeyDictionary()  # of feature maps, as long as those are there


def remember(nodes: ImageBlocks) -> Tensor:
    """Return the feature map of image blocks, which are remembered."""
    x = feature_map(nodes)
    if not (torch.compiler.is_compiling() or x.is_inference()):
        _memories[x] = _Memory(x._version, nodes.blocks.detach())
    return x


def remembered_blocks(x: Tensor) -> ImageBlocks:
    """Return the image blocks of a feature map: those remembered, unless it was changed since.

    Gradients go through x in any case, so hooks on it, and gradients with respect to it, are what
    they would be without.
    """
    if torch.compiler.is_compiling():
        return lay_out(x)
    needs_gradient = torch.is_grad_enabled() and x.requires_grad
    memory = _memories.get(x)
    if memory is None or memory.version != x._version or memory.blocks.dtype != compute_dtype(x):
        if x.is_leaf or not needs_gradient:  # nobody else's, or there for long
            return lay_out(x)
        memory = _memories[x] = _Memory(x._version, lay_out(x.detach()).blocks)
    if not needs_gradient:
        return ImageBlocks(memory.blocks, x.size(0))
    shared = memory.shared
    if shared is None:
        shared = _Remembered.apply(x, memory.blocks)
        if not x.is_leaf:  # whose graph would hold it, and so never forget it
            memory.shared = shared
    return ImageBlocks(shared, x.size(0))


class _Remembered(torch.autograd.Function):
    """``to_image_blocks`` whose result is there already."""

    @staticmethod
    def forward(x, blocks):
        return blocks.detach()

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, _ = inputs
        ctx.batch, ctx.dtype, ctx.blocks_dtype = x.size(0), x.dtype, output.dtype

    @staticmethod
    def backward(ctx, grad):
        return from_image_blocks(grad, ctx.batch).to(ctx.dtype), None

    @staticmethod
    def jvp(ctx, of_x, _):
        return to_image_blocks(of_x.to(ctx.blocks_dtype))
