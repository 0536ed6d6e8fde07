"""A cell's preprocessing in plain torch: the definition of :func:`adarts_ext.ops.preprocess_cell`.

Its two halves at stride 2 are also ``skip_connect`` of a mixed operation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from adarts_ext.reference.batch_norms import BatchNorms
from adarts_ext.reference.image_blocks import from_image_blocks, to_image_blocks


def preprocess_cell(
    x: Tensor,
    weights: Tensor,
    batch: int,
    stride: int,
    norms: Tensor | None = None,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor]:
    """ReLU, 1x1 convolution and BatchNorm without scale and shift (DARTS, arXiv 1806.09055).

    At stride 2 the first half of the output channels sees the pixels of even rows and columns, the
    second half those of odd ones.

    Args:
        x: Image blocks ``(blocks, C_in, H, W, 16)``, floating point.
        weights: ``(C, C_in)``; this definition computes with them in the dtype of ``x``.
        batch: N.
        stride: 1 or 2.
        norms: Statistics ``(3, C)`` to use in place of the batch's.
        eps: Of the BatchNorm.

    Returns:
        ``(blocks, C, H / stride, W / stride, 16)`` and the batch's statistics ``(3, C)``, which are
        without elements where ``norms`` were given.

    Example:
        >>> x = torch.arange(2.0).reshape(2, 1, 1, 1).expand(2, 3, 4, 4)
        >>> h, norms = preprocess_cell(to_image_blocks(x), torch.ones(2, 3), batch=2, stride=2)
        >>> from_image_blocks(h, 2)[:, 0, 0, 0], norms[0]
        (tensor([-1.0000,  1.0000]), tensor([1.5000, 1.5000]))
    """
    relu = functional.relu(from_image_blocks(x, batch))
    kernels = weights.to(x.dtype)[:, :, None, None]
    if stride == 2:
        u = factorized_reduce(relu, kernels.chunk(2))
    else:
        u = functional.conv2d(relu, kernels)
    norm = BatchNorms(None if norms is None else norms[None], eps)
    h = to_image_blocks(norm(u))
    return h, norm.statistics()[0] if norms is None else norm.statistics()


def factorized_reduce(x: Tensor, kernels: Sequence[Tensor]) -> Tensor:
    """Convolve the pixels of even rows and columns by one kernel, those of odd ones by another.

    Example:
        >>> kernels = torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
        >>> factorized_reduce(torch.arange(4.0).reshape(1, 1, 2, 2), kernels).flatten()
        tensor([0., 3.])
    """
    pixels = x[:, :, ::2, ::2], x[:, :, 1::2, 1::2]
    halves = [functional.conv2d(part, k) for part, k in zip(pixels, kernels, strict=True)]
    return torch.cat(halves, dim=1)
