"""Derivatives of gradients as differences: the fused operators have no second derivatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from adarts_ext.leaves import put_back


def central_difference(
    gradient: Callable[[], Sequence[Tensor]],
    parameters: Sequence[Tensor],
    vector: Sequence[Tensor],
    distance: float,
) -> list[Tensor]:
    """Return how a gradient changes along a vector: ``(g(p + r v) - g(p - r v)) / 2r``.

    Args:
        gradient: g, computed with the parameters as they are.
        parameters: p, leaf tensors that are moved in place, and put back bit for bit.
        vector: v, one tensor for each of ``parameters``.
        distance: ``r ||v||``, how far they are moved each way, in the norm over all of them.

    Returns:
        One tensor for each that ``gradient`` gives.
    """
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(vector)))
    radius = distance / norm.clamp_min(torch.finfo(norm.dtype).tiny)  # v = 0 gives a product of 0
    shift = torch._foreach_mul(vector, radius)

    def gradient_at(sign: int) -> Sequence[Tensor]:
        with put_back(parameters):
            with torch.no_grad():
                torch._foreach_add_(parameters, shift, alpha=sign)
            return gradient()

    ahead, behind = gradient_at(1), gradient_at(-1)
    return [(a - b) / (2 * radius) for a, b in zip(ahead, behind, strict=True)]
