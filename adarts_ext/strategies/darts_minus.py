"""DARTS-: a skip connection beside the candidates, which fades."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from adarts_ext.genotype import PRIMITIVES
from adarts_ext.strategies.strategy import Strategy


class DartsMinus(Strategy):
    """The auxiliary skip connection (DARTS-, arXiv 2009.01027).

    ``sum_o softmax(alpha)_o o(x) + beta x``; beta falls linearly from 1, by an equal part in each
    epoch. The candidate ``skip_connect`` is x itself, so its weight is softmax(alpha)_skip + beta.
    On the edges of stride 2 DARTS- has a second factorized reduction, with weights of its own; here
    it is the candidate's.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_number("beta", 1.0)
        skip = torch.tensor([name == "skip_connect" for name in PRIMITIVES])
        self.register_buffer("skip", skip, persistent=False)

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Set beta."""
        self.beta.fill_(1 - (epoch - 1) / epochs)

    def weights(self, alphas: Tensor) -> Tensor:
        """Return the softmax, and beta more for the skip connection."""
        skip = pad(self.skip, (0, alphas.shape[-1] - len(PRIMITIVES)))  # not of one's own
        return alphas.softmax(-1) + self.beta.to(alphas.dtype) * skip
