"""Channel scatter in plain torch: the definition of :func:`adarts_ext.ops.scatter_channels`."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def scatter_channels(
    x: Tensor, index: Tensor, update: Tensor, scale: Tensor | None = None, stride: int = 1
) -> Tensor:
    """Put updated channels into their places and let the scaled others pass by.

    ``out[:, index] = update``; every other channel is ``scale * x``, through a 2x2 max pool of
    stride 2 where ``stride`` is 2 (ADARTS, arXiv 2208.00791: the output of one edge).

    Args:
        x: Feature map ``(N, C, H, W)``, floating point.
        index: Distinct channel indices ``(k,)``, int64.
        update: New values of those channels, ``(N, k, H // stride, W // stride)``.
        scale: One factor per image and channel, ``(N, C)``, or None for no scaling.
        stride: 1 or 2.

    Returns:
        Feature map ``(N, C, H // stride, W // stride)``.

    Example:
        >>> import torch
        >>> x = torch.ones(1, 3, 1, 1)
        >>> scatter_channels(x, torch.tensor([1]), torch.full((1, 1, 1, 1), 7.0)).flatten()
        tensor([1., 7., 1.])
    """
    passed = x if scale is None else x * scale[:, :, None, None]
    if stride == 2:
        passed = functional.max_pool2d(passed, 2)
    return passed.index_copy(1, index, update)
