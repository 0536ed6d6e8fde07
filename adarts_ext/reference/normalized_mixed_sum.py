"""Weighted sum behind BatchNorms in plain torch, which defines ops.normalized_mixed_sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from adarts_ext.reference.batch_norms import BatchNorms
from adarts_ext.reference.cell_layout import STATISTICS
from adarts_ext.reference.mixed_sum import mixed_sum


class NormalizedMixedSum(NamedTuple):
    """The sum ``(N, C, H, W)`` and the batch's statistics ``(normalized inputs, 3, C)``."""

    out: Tensor
    norms: Tensor


def normalized_mixed_sum(
    inputs: Sequence[Tensor],
    weights: Tensor,
    normalized: Sequence[bool],
    norms: Tensor | None = None,
    eps: float = 1e-5,
) -> NormalizedMixedSum:
    """Sum feature maps, each times its weight, some of them through a BatchNorm first.

    ``sum_i weights[i] * y_i`` (DARTS, arXiv 1806.09055, equation 2), where
    ``y_i = (x_i - mean_i) / sqrt(variance_i + eps)`` in every channel (batch normalization without
    scale and shift, arXiv 1502.03167, algorithm 1) where input i is normalized, and ``x_i`` itself
    where it is not.

    Args:
        inputs: At least one feature map (N, C, H, W), all of one shape and dtype.
        weights: One weight per input, ``(len(inputs),)``.
        normalized: Whether an input is normalized, one for each.
        norms: Statistics of each normalized input ``(normalized inputs, 3, C)`` in place of the
            batch's: mean, 1 / sqrt(variance + eps), variance.
        eps: Added to the variance.

    Returns:
        The sum, and the batch's statistics in the form of ``norms`` with the unbiased variance, or
        no elements where ``norms`` were given.

    Example:
        >>> import torch
        >>> x = torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1)
        >>> out, norms = normalized_mixed_sum([x, x], torch.tensor([0.5, 2.0]), [True, False])
        >>> out.flatten(), norms.flatten()
        (tensor([1.5000, 6.5000]), tensor([2.0000, 1.0000, 2.0000]))
    """
    normalise = BatchNorms(norms, eps)
    terms = [normalise(x) if flag else x for x, flag in zip(inputs, normalized, strict=True)]
    out = mixed_sum(terms, weights)
    if norms is None and not any(normalized):
        return NormalizedMixedSum(out, out.new_empty((0, STATISTICS, out.size(1))))
    return NormalizedMixedSum(out, normalise.statistics())
