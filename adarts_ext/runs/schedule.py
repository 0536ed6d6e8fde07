"""The learning rate of a run."""

from __future__ import annotations

import math

import torch


def cosine_learning_rate(start: float, end: float, epoch: int, epochs: int) -> float:
    """Return the learning rate of an epoch: half a cosine over the run, from ``start`` to ``end``.

    ``end + (start - end) * (1 + cos(pi * (epoch - 1) / epochs)) / 2`` (SGDR, arXiv 1608.03983,
    equation 5, without restarts). It depends on nothing but its arguments, so a run that is resumed
    needs no state of it.

    Args:
        start: Learning rate of the first epoch.
        end: Learning rate that an epoch after the last would have.
        epoch: The epoch, counted from 1.
        epochs: Epochs of the run.

    Example:
        >>> [round(cosine_learning_rate(0.1, 0.0, epoch, 3), 6) for epoch in (1, 2, 3)]
        [0.1, 0.075, 0.025]
    """
    done = (epoch - 1) / epochs
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of all parameters of an optimizer.

    One that is a tensor gets the value in its place, where a CUDA graph reads it.

    Example:
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
        >>> set_learning_rate(optimizer, 0.05)
        >>> optimizer.param_groups[0]["lr"]
        0.05
    """
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(learning_rate)
        else:
            group["lr"] = learning_rate
