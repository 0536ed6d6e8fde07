"""Channel selection in plain torch: the definition of :func:`adarts_ext.ops.select_channels`."""

from __future__ import annotations

import torch
from torch import Tensor


def select_channels(scores: Tensor, k: int) -> Tensor:
    """Choose the ``k`` channels whose scores, summed over the batch, are largest.

    One index set serves the whole batch (ADARTS, arXiv 2208.00791). Not differentiable.

    Args:
        scores: Channel scores ``(N, C)``, floating point.
        k: Number of channels to choose, ``0 <= k <= C``.

    Returns:
        Indices ``(k,)``, int64, by falling batch sum; among equal sums the lower index comes first.

    Example:
        >>> select_channels(torch.tensor([[0.1, 0.9, 0.5, 0.9]]), 3)
        tensor([1, 3, 2])
    """
    return torch.argsort(scores.sum(0), descending=True, stable=True)[:k]
