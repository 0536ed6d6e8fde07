"""What changes during a search."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from adarts_ext.data import BatchLoader
from adarts_ext.nn import SearchNetwork
from adarts_ext.runs.checkpoint import RunState
from adarts_ext.search.step import trained_by
from adarts_ext.strategies import Strategy


@dataclass(frozen=True)
class SearchState(RunState):
    """What changes during a search.

    Args:
        network: The supernet, with its alphas and betas.
        weight_optimizer: SGD on the weights.
        arch_optimizer: Adam on alphas and betas.
        train_loader: Batches of the half that trains the weights.
        validation_loader: Batches of the half that trains alphas and betas.
        strategy: What is done beside, with what it keeps.
    """

    kind: ClassVar[str] = "search"

    network: SearchNetwork
    weight_optimizer: torch.optim.SGD
    arch_optimizer: torch.optim.Adam
    train_loader: BatchLoader
    validation_loader: BatchLoader
    strategy: Strategy = field(default_factory=Strategy)

    def __post_init__(self) -> None:
        self.strategy.begin(self.network, trained_by(self.weight_optimizer))

    def parts(self) -> dict[str, Any]:
        """Return the parts of the run by name; a strategy that keeps nothing is none."""
        return {
            name: part
            for name, part in super().parts().items()
            if name != "strategy" or part.state_dict()
        }
