"""DrNAS: the weights of an edge are drawn from a Dirichlet distribution."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence
from torch.nn.functional import elu

from adarts_ext.genotype import Genotype, derive
from adarts_ext.nn import SearchNetwork
from adarts_ext.strategies.strategy import Strategy
from adarts_ext.strategies.without_none import FIRST, with_none, without_none


class DrNas(Strategy):
    """Dirichlet neural architecture search (DrNAS, arXiv 2006.10355).

    ``w ~ Dirichlet(elu(alpha) + 1)`` for each edge, drawn anew for every pass, with the pathwise
    gradient. DrNAS has no ``none``: here its weight is 0, which is the same, and the softmax that
    edges are ranked by is without it too. The distance to the start, Dirichlet(1), is the L2 norm
    of the alphas, which Adam's weight decay of 0.001 stands for. The second of its two stages, with
    fewer candidates and more channels, is not made.
    """

    any_candidates = False
    draws_weights = True

    def weights(self, alphas: Tensor) -> Tensor:
        """Draw the weights."""
        return with_none(_distribution(alphas).rsample())

    def genotype(self, network: SearchNetwork) -> Genotype:
        """Derive the genotype of the largest softmax over the candidates without ``none``."""
        alphas = [network.alphas_normal, network.alphas_reduce]
        without = [one.detach().clone() for one in alphas]
        for one in without:
            one[:, :FIRST] = one.min() - 1000  # their softmax is 0
        betas = network.betas_normal, network.betas_reduce
        return derive(*without, *betas, candidates=network.candidates)


class DrNasKl(DrNas):
    """DrNAS with the other distance of its code: ``L_val + 0.001 * sum_e KL(q_e || Dirichlet(1))``.

    q_e is the distribution of an edge's weights; the sum is over the edges of both kinds of cell.
    """

    factor = 1e-3

    def loss(self, network: SearchNetwork) -> Tensor:
        """Return the second term."""
        drawn = _distribution(torch.cat([network.alphas_normal, network.alphas_reduce]))
        start = Dirichlet(torch.ones_like(drawn.concentration), validate_args=False)
        return self.factor * kl_divergence(drawn, start).sum()


def _distribution(alphas: Tensor) -> Dirichlet:
    # Its own checks would read values, which no CUDA graph can hold.
    return Dirichlet(elu(without_none(alphas)) + 1, validate_args=False)
