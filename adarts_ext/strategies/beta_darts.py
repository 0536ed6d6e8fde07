"""Beta-DARTS: the weights of an edge are kept close to each other."""

from __future__ import annotations

import torch
from torch import Tensor

from adarts_ext.nn import SearchNetwork
from adarts_ext.strategies.strategy import Strategy


class BetaDarts(Strategy):
    """Beta-decay regularisation (Beta-DARTS, arXiv 2203.01665).

    ``L_val + lambda * mean_e log(sum_o exp(alpha_eo))`` over the edges e of both kinds of cell;
    lambda is 0 in the first epoch and grows by 0.5 in each. The gradient of the second term is the
    softmax itself, so a weight shrinks the more, the larger it is.
    """

    needs_softmax = True
    growth = 0.5  # of lambda, in an epoch

    def __init__(self) -> None:
        super().__init__()
        self.register_number("factor", 0.0)

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Set lambda."""
        self.factor.fill_(self.growth * (epoch - 1))

    def loss(self, network: SearchNetwork) -> Tensor:
        """Return the second term."""
        alphas = torch.cat([network.alphas_normal, network.alphas_reduce])
        return (self.factor * alphas.logsumexp(dim=-1)).mean()
