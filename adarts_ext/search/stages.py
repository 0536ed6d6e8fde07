"""The stages of a search: which epochs are theirs, and with what options they are run."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

from adarts_ext.arguments import naming
from adarts_ext.search.config import SearchConfig
from adarts_ext.strategies import Strategy


def epoch_of(history: list[dict[str, Any]], under_way: dict[str, Any] | None) -> int:
    """Return the epoch that a run is in, from 1 on: the one under way, or the last that ended.

    Example:
        >>> epoch_of([], None), epoch_of([{}, {}], None), epoch_of([{}, {}], {"step": 3})
        (1, 2, 3)
    """
    return max(len(history) + bool(under_way), 1)


class Stages:
    """The stages of a search; that of most strategies has one.

    The epochs are shared out evenly, the later stages having one more where they cannot be.

    Args:
        config: The options of the search.
        strategy: Whose stages they are.

    Raises:
        ValueError: If a stage would have no epoch that trains the alphas, its options do not go
            together, or it would go on with more channels than it has.

    Example:
        >>> from adarts_ext.strategies import DrNas
        >>> config = SearchConfig(init_channels=36, proportion=6, epochs=50, warmup_epochs=10)
        >>> stages = Stages(config, DrNas())
        >>> stages.of(26), stages.within(26), stages.config(1).proportion
        (1, (1, 25), 4)
    """

    def __init__(self, config: SearchConfig, strategy: Strategy) -> None:
        self._config, self._strategy = config, strategy
        self.count = len(strategy.stages)
        self._begins = [config.epochs * stage // self.count for stage in range(self.count + 1)]
        shortest = config.epochs // self.count
        if self.count > 1 and shortest <= config.warmup_epochs:
            message = (
                f"epochs: expected at least {self.count * (config.warmup_epochs + 1)} with "
                f"strategy {config.strategy}, whose {self.count} stages each begin with "
                f"{config.warmup_epochs} epochs of warm-up, got {config.epochs}"
            )
            raise naming(ValueError(message), "epochs", "strategy")
        if self.count > 1 and config.hessian_every:
            message = (
                f"hessian_every: expected 0 with strategy {config.strategy}, whose {self.count} "
                f"stages have networks that cannot be compared, got {config.hessian_every}"
            )
            raise naming(ValueError(message), "hessian_every", "strategy")
        configs = [self.config(stage) for stage in range(self.count)]
        for before, after in pairwise(configs):
            if strategy.carries_over and after.layers != before.layers:
                message = (
                    f"strategy: expected stages of as many cells, as each goes on with the one "
                    f"before, got {before.layers} and {after.layers} in {config.strategy}"
                )
                raise naming(ValueError(message), "strategy")
            if strategy.carries_over and after.proportion > before.proportion:
                message = (
                    f"proportion: expected at least {after.proportion} with strategy "
                    f"{config.strategy}, which goes on with as much, got {before.proportion}"
                )
                raise naming(ValueError(message), "proportion", "strategy")

    def of(self, epoch: int) -> int:
        """Return the stage, from 0 on, of an epoch, from 1 on."""
        return next(place for place, end in enumerate(self._begins[1:]) if epoch <= end)

    def within(self, epoch: int) -> tuple[int, int]:
        """Return which epoch of its stage an epoch is, from 1 on, and how many the stage has."""
        stage = self.of(epoch)
        begin, end = self._begins[stage : stage + 2]
        return epoch - begin, end - begin

    def schedule(self, epoch: int) -> tuple[int, int]:
        """Return the epoch and the epochs that schedules hang on."""
        if self._strategy.carries_over:
            return epoch, self._config.epochs
        return self.within(epoch)

    def warming_up(self, epoch: int) -> bool:
        """Return whether an epoch leaves the alphas as they are."""
        return self.within(epoch)[0] <= self._config.warmup_epochs

    def config(self, stage: int) -> SearchConfig:
        """Return the options of a stage's network; ``epochs`` are those of the search."""
        sizes = self._strategy.stages[stage]
        return replace(
            self._config,
            layers=self._config.layers + sizes.more_layers,
            proportion=sizes.proportion or self._config.proportion,
        )
