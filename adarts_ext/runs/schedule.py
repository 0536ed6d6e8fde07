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


def linear_learning_rate(start: float, end: float, epoch: int, epochs: int) -> float:
    """Return the learning rate of an epoch: a line over the run, from ``start`` to ``end``.

    ``end + (start - end) * (1 - (epoch - 1) / epochs)``, with the arguments of
    :func:`cosine_learning_rate`.

    Example:
        >>> [round(linear_learning_rate(0.4, 0.0, epoch, 4), 6) for epoch in (1, 2, 3, 4)]
        [0.4, 0.3, 0.2, 0.1]
    """
    return end + (start - end) * (1 - (epoch - 1) / epochs)


#: How the learning rate falls, by name.
SCHEDULES = {"cosine": cosine_learning_rate, "linear": linear_learning_rate}


def warmed_up(learning_rate: float, epoch: int, warmup_epochs: int) -> float:
    """Return the part of a learning rate that an epoch has in a warm-up: ``epoch / warmup_epochs``.

    Example:
        >>> [warmed_up(0.5, epoch, warmup_epochs=2) for epoch in (1, 2, 3)]
        [0.25, 0.5, 0.5]
    """
    return learning_rate * epoch / warmup_epochs if epoch < warmup_epochs else learning_rate


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
