"""Feature maps as fused cells hand them on: laid out in blocks of 16 images."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from adarts_ext.ops.common import accumulate_dtype
from adarts_ext.ops.image_blocks import from_image_blocks, to_image_blocks


class ImageBlocks(NamedTuple):
    """A feature map as fused cells hand it on: ``blocks`` (ceil(N / 16), C, H, W, 16) and N.

    See :func:`adarts_ext.ops.to_image_blocks`; ``from_image_blocks(*x)`` is the feature map.

    Example:
        >>> lay_out(torch.zeros(5, 3, 8, 8)).feature_shape
        (5, 3, 8, 8)
    """

    blocks: Tensor
    batch: int

    @property
    def feature_shape(self) -> tuple[int, int, int, int]:
        """The shape (N, C, H, W) of the feature map."""
        return self.batch, *self.blocks.shape[1:4]


def lay_out(x: Tensor | ImageBlocks) -> ImageBlocks:
    """Return image blocks, in the dtype that the fused kernels compute them in."""
    if isinstance(x, ImageBlocks):
        return x
    return ImageBlocks(to_image_blocks(x.to(compute_dtype(x))), x.size(0))


def feature_map(x: Tensor | ImageBlocks) -> Tensor:
    """Return the feature map (N, C, H, W)."""
    return from_image_blocks(*x) if isinstance(x, ImageBlocks) else x


def global_average(x: ImageBlocks) -> Tensor:
    """Return the average of every plane: (N, C), in the dtype sums are made in."""
    average = x.blocks.mean(dim=(2, 3), dtype=accumulate_dtype(x.blocks.dtype))  # (blocks, C, 16)
    average = average.transpose(1, 2).flatten(0, 1)
    if average.size(0) > x.batch:  # else the gradient would be filled with zeros and copied
        average = average[: x.batch]
    # Contiguous, as matrix products of transposed inputs are up to 1.4 times as wrong.
    return average.contiguous()


def compute_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype of states under autocast, else that of x.

    bfloat16 is stored where autocast asks for it; float16, which the kernels do not store, becomes
    float32, as for all operations that autocast keeps exact.
    """
    device = x.device.type
    autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    if x.dtype == torch.float64 or not autocast:
        return x.dtype
    dtype = torch.get_autocast_dtype(device)
    return torch.bfloat16 if dtype == torch.bfloat16 else torch.float32
