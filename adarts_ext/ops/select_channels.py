"""Channel selection: sum of the scores over the batch and top-k, in one operator."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from adarts_ext import _library, reference
from adarts_ext.ops.common import check_dtype, kernels
from adarts_ext.ops.operator import operator


@operator
def select_channels(scores: Tensor, k: int) -> Tensor:
    """Choose the ``k`` channels whose scores, summed over the batch, are largest.

    One index set serves the whole batch (ADARTS, arXiv 2208.00791). Not differentiable: the
    gradient reaches the attention because the scores multiply the feature map.

    Args:
        scores: Channel scores ``(N, C)``; float32, float64, bfloat16 or float16.
        k: Number of channels to choose, ``0 <= k <= C``.

    Returns:
        Indices ``(k,)``, int64, by falling batch sum; among equal sums the lower index comes first.

    Raises:
        ValueError: If ``scores`` is not two-dimensional or ``k`` is out of range.
        TypeError: If the dtype is not one of the above.
        RuntimeError: On a GPU, with more than 4,096 channels.

    Example:
        >>> select_channels(torch.tensor([[0.1, 0.9, 0.5, 0.9]]), 3)
        tensor([1, 3, 2])
    """
    if scores.dim() != 2:
        raise ValueError(
            f"select_channels: scores has shape {tuple(scores.shape)}, expected (N, C)"
        )
    check_dtype("select_channels", "scores", scores)
    if not 0 <= k <= scores.size(1):
        raise ValueError(
            f"select_channels: k is {k}, expected 0 to {scores.size(1)} for scores of shape "
            f"{tuple(scores.shape)}"
        )
    if not _library.has_kernels(scores):
        return reference.select_channels(scores, k)
    return kernels.select_channels(scores.detach(), k)


@torch.library.register_fake("adarts_ext::select_channels")
def _fake(scores: Tensor, k: int) -> Tensor:
    return scores.new_empty((k,), dtype=torch.int64)


@register_flop_formula(kernels.select_channels)
def _flops(scores_shape: torch.Size, *args, out_shape: torch.Size | None = None, **kwargs) -> int:
    return scores_shape.numel()
