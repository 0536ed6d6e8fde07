"""Weights that lie end to end: one tensor to train in place of hundreds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def flatten(weights: Sequence[nn.Parameter]) -> Tensor:
    """Lay weights end to end, and make them and their gradients views of what results.

    Args:
        weights: Of one dtype and device. They stay the same objects, with the same values.

    Returns:
        A leaf of one axis that requires a gradient, and whose ``grad`` is there, all zeros.

    Example:
        >>> linear = nn.Linear(2, 3)
        >>> flat = flatten(list(linear.parameters()))
        >>> with torch.no_grad():
        ...     _ = flat.fill_(1.0)
        >>> linear(torch.ones(2)).tolist()
        [3.0, 3.0, 3.0]
    """
    with torch.no_grad():
        flat = torch.cat([weight.reshape(-1) for weight in weights]).requires_grad_()
    attach(flat, weights)

    def follow(flat: Tensor) -> None:
        if weights[0].grad is None or weights[0].grad.data_ptr() != flat.grad.data_ptr():
            attach(flat, weights)

    flat.register_post_accumulate_grad_hook(follow)  # after zero_grad(), the gradient is another
    return flat


def attach(flat: Tensor, weights: Sequence[nn.Parameter]) -> None:
    """Make weights views of ``flat``, and their gradients views of its gradient."""
    if flat.grad is None:
        flat.grad = torch.zeros_like(flat)
    sizes = [weight.numel() for weight in weights]
    parts, grads = flat.detach().split(sizes), flat.grad.split(sizes)
    for weight, part, grad in zip(weights, parts, grads, strict=True):
        weight.data = part.view(weight.shape)
        weight.grad = grad.view(weight.shape)


def is_attached(flat: Tensor, first: nn.Parameter, last: nn.Parameter) -> bool:
    """Return whether weights are views of ``flat`` still, by the first and the last of them."""
    end = flat.data_ptr() + (flat.numel() - last.numel()) * flat.element_size()
    return first.data_ptr() == flat.data_ptr() and last.data_ptr() == end
