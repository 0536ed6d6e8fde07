"""Accuracy, running means, and the evaluation of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from adarts_ext.runs import processes


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the fraction of images whose largest logit is at their label.

    Args:
        logits: (N, classes), any float dtype.
        labels: (N,) int64.

    Returns:
        A float32 scalar in [0, 1] on the same device, so that reading it is left to the caller.

    Example:
        >>> accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1])).item()
        0.5
    """
    return (logits.argmax(dim=1) == labels).float().mean()


class RunningMean:
    """Weighted mean of scalars, summed in float64 where they live.

    Adding a CUDA scalar does not wait for the device; only :meth:`value` does.

    Example:
        >>> mean = RunningMean()
        >>> mean.add(torch.tensor(1.0), weight=3)
        >>> mean.add(torch.tensor(5.0))
        >>> mean.value()
        2.0
    """

    def __init__(self) -> None:
        self.total: Tensor | None = None
        self.weight = 0

    def add(self, scalar: Tensor, weight: int = 1) -> None:
        """Add a scalar tensor that stands for ``weight`` samples."""
        term = scalar.detach().double() * weight
        self.total = term if self.total is None else self.total + term
        self.weight += weight

    def value(self) -> float:
        """Return the mean so far; NaN when nothing was added."""
        return float("nan") if self.total is None else self.total.item() / self.weight

    def state_dict(self) -> dict[str, Any]:
        """Return what another mean needs to go on from here."""
        return {"total": self.total, "weight": self.weight}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the mean was whose :meth:`state_dict` is given."""
        self.total, self.weight = state["total"], state["weight"]


@torch.no_grad()
def evaluate_network(
    network: nn.Module,
    loader: Iterable[tuple[Tensor, Tensor]],
    forward: Callable[[Tensor], Tensor] | None = None,
) -> tuple[float, float]:
    """Return the mean cross-entropy loss and the accuracy of a network over a loader's images.

    The network is evaluated in eval mode, and left in the mode in which it came. The processes of a
    run are given the same batches, evaluate a part each, and have the same result.

    Args:
        network: Takes images and gives logits.
        loader: Gives batches of images and labels.
        forward: What computes the network's logits, in place of calling it.

    Returns:
        (loss, accuracy): the mean over images of the cross entropy, in nats, and the fraction of
        images classified rightly, in [0, 1].

    Example:
        >>> batch = (torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 0]))
        >>> loss, fraction = evaluate_network(nn.Identity(), [batch])
        >>> round(loss, 4), fraction
        (1.1269, 0.5)
    """
    training = network.training
    network.eval()
    loss, fraction = RunningMean(), RunningMean()
    for images, labels in loader:
        part = processes.part(len(labels))
        logits = (forward or network)(images[part])
        batch_loss = nn.functional.cross_entropy(logits, labels[part])
        batch_loss, batch_fraction = processes.means(batch_loss, accuracy(logits, labels[part]))
        loss.add(batch_loss, len(labels))
        fraction.add(batch_fraction, len(labels))
    network.train(training)
    return loss.value(), fraction.value()
