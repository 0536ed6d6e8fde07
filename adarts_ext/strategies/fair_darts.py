"""FairDARTS: candidates do not compete, and are pushed to take part or not."""

from __future__ import annotations

import torch
from torch import Tensor

from adarts_ext.genotype import Genotype, derive
from adarts_ext.nn import SearchNetwork
from adarts_ext.strategies.strategy import Strategy
from adarts_ext.strategies.without_none import with_none, without_none


class FairDarts(Strategy):
    """Sigmoids and the zero-one loss (FairDARTS, arXiv 1911.12126).

    ``w = sigmoid(alpha)``, and ``L_val - 10 * mean((w - 1/2)^2)`` over all candidates of both kinds
    of cell. FairDARTS has no ``none``: here its weight is 0, which is the same, and it has no part
    in the mean. Every node keeps the two edges of the largest weights, and of these those of at
    least 0.85: a node may have fewer, or is left out. Where no edge of a cell weighs as much, as in
    early epochs, all nodes keep two.
    """

    any_candidates = False
    factor = 10.0
    threshold = 0.85

    def weights(self, alphas: Tensor) -> Tensor:
        """Return the sigmoids, and 0 for ``none``."""
        return with_none(without_none(alphas).sigmoid())

    def loss(self, network: SearchNetwork) -> Tensor:
        """Return the zero-one loss."""
        alphas = torch.cat([network.alphas_normal, network.alphas_reduce])
        return -self.factor * (without_none(alphas).sigmoid() - 0.5).square().mean()

    def genotype(self, network: SearchNetwork) -> Genotype:
        """Derive the genotype of the largest sigmoids that are above the threshold."""
        return derive(
            network.alphas_normal,
            network.alphas_reduce,
            network.betas_normal,
            network.betas_reduce,
            activation="sigmoid",
            threshold=self.threshold,
            candidates=network.candidates,
        )
