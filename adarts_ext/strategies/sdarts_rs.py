"""SDARTS-RS: the layers are trained at weights of the candidates near the present ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adarts_ext.nn import OperationWeights, SearchNetwork
from adarts_ext.strategies.strategy import Strategy


class SdartsRs(Strategy):
    """Random smoothing (SmoothDARTS, arXiv 2002.05283).

    A step of the layers' weights is made at ``softmax(alpha) + delta``, where delta is uniform in
    [-epsilon, epsilon]; as in the authors' code the sum is clipped to [0, 1] and each edge is
    divided by its total. epsilon grows linearly from 0.03 towards 0.3, an equal part each epoch.
    The step of the alphas is that of DARTS.
    """

    any_candidates = False
    needs_softmax = True
    smallest, largest = 0.03, 0.3  # epsilon

    def __init__(self) -> None:
        super().__init__()
        self.register_number("epsilon", self.smallest)

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Set epsilon."""
        part = (epoch - 1) / epochs
        self.epsilon.fill_(self.smallest + (self.largest - self.smallest) * part)

    def layer_weights(
        self, network: SearchNetwork, batch: tuple[Tensor, Tensor], parameters: Sequence[Tensor]
    ) -> OperationWeights:
        """Draw delta, and add it."""
        return OperationWeights(
            *(self._smoothed(one) for one in network.operation_weights().detach())
        )

    def _smoothed(self, weights: Tensor) -> Tensor:
        moved = weights + self.epsilon * torch.empty_like(weights).uniform_(-1, 1)
        return onto_simplex(moved)


def onto_simplex(weights: Tensor) -> Tensor:
    """Clip weights to [0, 1] and divide those of each edge by their sum.

    Where all of an edge are clipped to 0, the largest of them becomes 1.

    Example:
        >>> onto_simplex(torch.tensor([[0.5, 0.75, -0.5], [-1, -0.5, -2]]))
        tensor([[0.4000, 0.6000, 0.0000],
                [0.0000, 1.0000, 0.0000]])
    """
    clipped = weights.clamp(0, 1)
    total = clipped.sum(-1, keepdim=True)
    largest = torch.zeros_like(weights).scatter(-1, weights.argmax(-1, keepdim=True), 1.0)
    return torch.where(total > 0, clipped / total, largest)
