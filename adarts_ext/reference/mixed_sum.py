"""Weighted sum in plain torch: the definition of :func:`adarts_ext.ops.mixed_sum`."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def mixed_sum(inputs: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Sum tensors, each times its weight: the mixed operation of DARTS.

    ``sum_i weights[i] * inputs[i]`` (DARTS, arXiv 1806.09055, equation 2, with the softmax already
    taken).

    Args:
        inputs: At least one tensor, all of one shape and dtype.
        weights: One weight per input, ``(len(inputs),)``.

    Returns:
        A tensor like ``inputs[0]``.

    Example:
        >>> import torch
        >>> mixed_sum([torch.ones(2), torch.full((2,), 3.0)], torch.tensor([0.5, 2.0]))
        tensor([6.5000, 6.5000])
    """
    total = inputs[0] * weights[0]
    for tensor, weight in zip(inputs[1:], weights[1:], strict=True):
        total = total + tensor * weight
    return total
