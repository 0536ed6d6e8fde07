"""What a supernet's loss and accuracy are with given weights of its candidates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from adarts_ext.leaves import put_back
from adarts_ext.nn import OperationWeights, SearchNetwork
from adarts_ext.runs.metrics import RunningMean
from adarts_ext.same_draws import same_draws

Batches = Iterable[tuple[Tensor, Tensor]]


class Measured(NamedTuple):
    """The mean over images of the cross entropy, in nats, and of the accuracy, in [0, 1]."""

    loss: float
    accuracy: float


@torch.no_grad()
def measure(
    network: SearchNetwork, batches: Batches, weights: OperationWeights | None = None
) -> Measured:
    """Measure a supernet with given weights of its candidates.

    BatchNorms take the statistics of each batch, as in training: the running ones are of other
    weights. The network is left as it was.

    Args:
        network: The supernet.
        batches: Images (N, C, H, W) and labels (N,).
        weights: Those of the candidates; None for the network's own.

    Raises:
        ValueError: If there is no batch.

    Example:
        >>> network = SearchNetwork(init_channels=4, layers=3)
        >>> batch = torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 3])
        >>> normal, reduce = network.operation_weights()
        >>> changed = OperationWeights(torch.zeros_like(normal), reduce)
        >>> measure(network, [batch], changed).loss == measure(network, [batch]).loss
        False
    """
    loss, right, images_seen = RunningMean(), 0, 0
    weights = network.operation_weights() if weights is None else weights
    with as_in_training(network):
        for images, labels in batches:
            logits = network(images, weights)
            loss.add(cross_entropy(logits, labels), len(labels))
            # Counted, so that equal accuracies are equal, however they lie in the batches.
            right = right + (logits.argmax(dim=1) == labels).sum()
            images_seen += len(labels)
    if not images_seen:
        raise ValueError("measure: expected at least one batch, got none")
    return Measured(loss.value(), int(right) / images_seen)


@contextmanager
def as_in_training(network: SearchNetwork) -> Iterator[None]:
    """Put a network into training mode for a while; mode and running statistics come back.

    What a candidate draws, as noise does, is the same each time.
    """
    training = network.training
    network.train()
    try:
        device = network.alphas_normal.device
        with put_back(network.buffers()), network.unchanging(), same_draws(device):
            yield
    finally:
        network.train(training)
