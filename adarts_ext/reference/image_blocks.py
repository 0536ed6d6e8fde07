"""Image blocks: the memory layout in which the fused search cell works."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

#: Images that lie side by side in a block.
LANES = 16


def to_image_blocks(x: Tensor) -> Tensor:
    """Lay 16 images side by side: every pixel of every channel becomes a vector of 16 images.

    Windows, strides and borders are then the same for all lanes of a vector, and what differs
    between images is a vector too. Images beyond the batch are zeros.

    Args:
        x: Feature map ``(N, C, H, W)``.

    Returns:
        ``(ceil(N / 16), C, H, W, 16)``, contiguous.

    Raises:
        ValueError: If ``x`` is not a feature map.

    Example:
        >>> import torch
        >>> to_image_blocks(torch.ones(3, 2, 4, 4)).shape
        torch.Size([1, 2, 4, 4, 16])
    """
    if x.dim() != 4:
        raise ValueError(f"to_image_blocks: x has shape {tuple(x.shape)}, expected (N, C, H, W)")
    missing = -x.size(0) % LANES
    if missing:
        x = functional.pad(x, (0, 0, 0, 0, 0, 0, 0, missing))
    blocks = x.reshape(x.size(0) // LANES, LANES, *x.shape[1:])
    return blocks.permute(0, 2, 3, 4, 1).contiguous()


def from_image_blocks(blocks: Tensor, batch: int) -> Tensor:
    """Return the feature map ``(N, C, H, W)`` that :func:`to_image_blocks` laid out.

    Args:
        blocks: ``(ceil(N / 16), C, H, W, 16)``.
        batch: N.

    Raises:
        ValueError: If the shape does not fit.

    Example:
        >>> import torch
        >>> x = torch.randn(3, 2, 4, 4)
        >>> torch.equal(from_image_blocks(to_image_blocks(x), 3), x)
        True
    """
    check_image_blocks_of(blocks, batch)
    return blocks.permute(0, 4, 1, 2, 3).flatten(0, 1)[:batch].contiguous()


def check_image_blocks_of(blocks: Tensor, batch: int) -> None:
    """Raise ValueError unless the blocks hold so many images."""
    if blocks.dim() != 5 or blocks.size(4) != LANES or blocks.size(0) != -(-batch // LANES):
        raise ValueError(
            f"from_image_blocks: blocks have shape {tuple(blocks.shape)}, expected "
            f"({-(-batch // LANES)}, C, H, W, {LANES}) for {batch} images"
        )
