"""GDAS: one candidate of every edge is drawn for each pass."""

from __future__ import annotations

import torch
from torch import Tensor

from adarts_ext.strategies.strategy import Strategy


class Gdas(Strategy):
    """The Gumbel-softmax estimator, straight through (GDAS, arXiv 1910.04465, section 3.2).

    With ``p = softmax((log softmax(alpha) + g) / tau)``, g drawn from Gumbel(0, 1) anew for every
    pass, the candidate of the largest p of an edge has the weight 1, the others 0. The gradient is
    that of the largest p; as in the authors' code the others get none. tau falls linearly from 10
    in the first epoch to 0.1 in the last.

    Nothing but the candidate that is drawn is computed. The others' BatchNorms see no batch, and
    their weights get no gradient, so that neither momentum nor weight decay moves them.
    """

    draws_weights = True
    skips_zeros = True
    highest, lowest = 10.0, 0.1  # tau

    def __init__(self) -> None:
        super().__init__()
        self.register_number("temperature", self.highest)

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Set tau."""
        part = (epoch - 1) / max(epochs - 1, 1)
        self.temperature.fill_(self.highest - (self.highest - self.lowest) * part)

    def weights(self, alphas: Tensor) -> Tensor:
        """Draw a candidate of each edge."""
        waiting = torch.empty_like(alphas).exponential_()
        gumbel = -waiting.clamp_min(torch.finfo(alphas.dtype).tiny).log()
        chances = ((alphas.log_softmax(-1) + gumbel) / self.temperature).softmax(-1)
        best = chances.argmax(-1, keepdim=True)
        drawn = torch.zeros_like(chances).scatter(-1, best, 1.0)
        return drawn * (1 + (chances - chances.detach()))  # 1 and 0, to the bit
