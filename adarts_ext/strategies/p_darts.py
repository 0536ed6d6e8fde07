"""P-DARTS: deeper and deeper networks of fewer and fewer candidates."""

from __future__ import annotations

import math

from torch import Tensor

from adarts_ext.genotype import Genotype, operation_weights
from adarts_ext.genotype.few_skips import with_few_skips
from adarts_ext.nn import SearchNetwork
from adarts_ext.strategies.stage import Stage
from adarts_ext.strategies.strategy import Strategy


class PDarts(Strategy):
    """Progressive DARTS (P-DARTS, arXiv 1904.12760, section 3).

    Three stages, of as many cells as the search has, 6 more and 12 more, and of 8, 5 and 3
    candidates an edge, those of the largest alphas of the stage before. Weights, alphas and
    learning rate begin anew in each.

    Skip connections of stride 1 have dropout. Its rate begins at ``r`` = 0.1, 0.4 and 0.7 in the
    three stages. In epoch e of E it is ``r (E - e) / E`` while the alphas are not trained, and from
    the first epoch in which they are ``r exp(-0.2 n)`` after n more of them.

    The normal cell has at most two skip connections: as long as it has more, the weakest one does
    not count, and it is derived again.
    """

    stages = (
        Stage(candidates=8, more_layers=0, skip_dropout=0.1),
        Stage(candidates=5, more_layers=6, skip_dropout=0.4),
        Stage(candidates=3, more_layers=12, skip_dropout=0.7),
    )
    decay = 0.2
    most_skips = 2

    def __init__(self) -> None:
        super().__init__()
        self.register_number("rate", self.stages[0].skip_dropout)
        self.begin_stage(0, 0)

    def skip_dropout(self) -> Tensor:
        """Return the rate."""
        return self.rate

    def begin_stage(self, stage: int, warmup_epochs: int) -> None:
        """Set what the rate begins with."""
        self._first, self._warmup = self.stages[stage].skip_dropout, warmup_epochs

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Set the rate."""
        trained = epoch - 1 - self._warmup
        falling = (epochs - epoch) / epochs if trained < 0 else math.exp(-self.decay * trained)
        self.rate.fill_(self._first * falling)

    def genotype(self, network: SearchNetwork) -> Genotype:
        """Derive the genotype of the largest softmaxed alphas with few skip connections."""
        parts = (
            ("normal", network.alphas_normal, network.betas_normal),
            ("reduce", network.alphas_reduce, network.betas_reduce),
        )
        weights = (operation_weights(*part, candidates=network.candidates) for part in parts)
        return with_few_skips(*weights, self.most_skips, network.candidates)
