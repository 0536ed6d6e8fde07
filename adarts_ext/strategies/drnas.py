"""DrNAS: the weights of an edge are drawn from a Dirichlet distribution."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence
from torch.nn.functional import elu

from adarts_ext.genotype import Genotype, derive
from adarts_ext.nn import SearchNetwork
from adarts_ext.nn.candidates import present
from adarts_ext.strategies.stage import Stage
from adarts_ext.strategies.strategy import Strategy
from adarts_ext.strategies.without_none import FIRST, with_none, without_none


class DrNas(Strategy):
    """Dirichlet neural architecture search (DrNAS, arXiv 2006.10355).

    ``w ~ Dirichlet(elu(alpha) + 1)`` for each edge, drawn anew for every pass, with the pathwise
    gradient. DrNAS has no ``none``: here its weight is 0, which is the same, and the softmax that
    edges are ranked by is without it too. The distance to the start, Dirichlet(1), is the L2 norm
    of the alphas, which Adam's weight decay of 0.001 stands for.

    There are two stages (section 3.3), each with its warm-up. The second has the four candidates of
    the largest alphas on an edge, on a quarter of the channels in place of a sixth. It goes on with
    the weights of the first, widened, its alphas, optimizers and learning rate. What is drawn is
    divided by the sum over the candidates that there are.
    """

    stages = (Stage(), Stage(candidates=4, proportion=4))
    carries_over = True

    any_candidates = False
    draws_weights = True

    def weights(self, alphas: Tensor) -> Tensor:
        """Draw the weights."""
        here = without_none(present(alphas)).to(alphas.dtype)
        drawn = _distribution(alphas).rsample() * here
        return with_none(drawn / drawn.sum(-1, keepdim=True))

    def keep(self, alphas: Tensor, count: int) -> Tensor:
        """Return the largest alphas of all but ``none``."""
        return with_none(super().keep(without_none(alphas), count))

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
    """Return that of all seven; the concentrations of those that there are not stay at 1."""
    own = without_none(torch.where(present(alphas), alphas, 0))
    # Its own checks would read values, which no CUDA graph can hold.
    return Dirichlet(elu(own) + 1, validate_args=False)
