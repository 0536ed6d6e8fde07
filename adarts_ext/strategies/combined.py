"""Several strategies in one search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from adarts_ext.arguments import naming
from adarts_ext.genotype import Genotype
from adarts_ext.nn import OperationWeights, SearchNetwork
from adarts_ext.strategies.strategy import Strategy, overrides

#: What only one strategy can say; the hooks, or for the stages the attribute.
SINGLE = {
    "weights": "what the candidates weigh",
    "layer_weights": "at which weights the layers are trained",
    "genotype": "what the genotype is",
    "skip_dropout": "what skip connections drop",
    "stages": "which stages there are",
}


class Combined(Strategy):
    """Strategies together: their losses are added, and the other hooks run one after another.

    Args:
        strategies: Two or more, by their names.

    Raises:
        ValueError: If two of them say the same thing, one needs softmaxed weights and another one
            has others, or one needs the gradients of candidates that another one leaves out.

    Example:
        >>> from adarts_ext.strategies import BetaDarts, Gdas, SdartsRs
        >>> both = Combined({"sdarts-rs": SdartsRs(), "beta-darts": BetaDarts()})
        >>> Combined({"gdas": Gdas(), "beta-darts": BetaDarts()})
        Traceback (most recent call last):
        ...
        ValueError: strategy: beta-darts is about softmaxed weights, and gdas has others
    """

    def __init__(self, strategies: dict[str, Strategy]) -> None:
        super().__init__()
        check_combination(strategies)
        self.parts = nn.ModuleList(strategies.values())
        self.draws_weights = any(part.draws_weights for part in self.parts)
        self.compares_passes = any(part.compares_passes for part in self.parts)
        self.skips_zeros = any(part.skips_zeros for part in self.parts)
        self.any_candidates = all(part.any_candidates for part in self.parts)
        self.stages = self._single("stages").stages
        self.carries_over = self._single("stages").carries_over
        self.uses_validation_gradients = any(part.uses_validation_gradients for part in self.parts)

    def weights(self, alphas: Tensor) -> Tensor:
        """Return those of the part that says them."""
        return self._single("weights").weights(alphas)

    def keep(self, alphas: Tensor, count: int) -> Tensor:
        """Return what the part says whose stages they are."""
        return self._single("stages").keep(alphas, count)

    def begin_stage(self, stage: int, warmup_epochs: int) -> None:
        """Begin it in all parts."""
        for part in self.parts:
            part.begin_stage(stage, warmup_epochs)

    def skip_dropout(self) -> Tensor | None:
        """Return that of the part that has one."""
        return self._single("skip_dropout").skip_dropout()

    def begin(self, network: SearchNetwork, parameters: Sequence[Tensor]) -> None:
        """Call that of all parts."""
        for part in self.parts:
            part.begin(network, parameters)

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Begin it in all parts."""
        for part in self.parts:
            part.begin_epoch(epoch, epochs)

    def loss(self, network: SearchNetwork) -> Tensor | None:
        """Return the sum over the parts that have one."""
        losses = [part.loss(network) for part in self.parts]
        found = [loss for loss in losses if loss is not None]
        return sum(found[1:], found[0]) if found else None

    def after_architecture_backward(
        self, network: SearchNetwork, parameters: Sequence[Tensor], gradients: Sequence[Tensor]
    ) -> None:
        """Call that of all parts."""
        for part in self.parts:
            part.after_architecture_backward(network, parameters, gradients)

    def layer_weights(
        self, network: SearchNetwork, batch: tuple[Tensor, Tensor], parameters: Sequence[Tensor]
    ) -> OperationWeights | None:
        """Return those of the part that says them."""
        return self._single("layer_weights").layer_weights(network, batch, parameters)

    def after_backward(
        self, network: SearchNetwork, batch: tuple[Tensor, Tensor], parameters: Sequence[Tensor]
    ) -> None:
        """Call that of all parts."""
        for part in self.parts:
            part.after_backward(network, batch, parameters)

    def after_weight_step(self, network: SearchNetwork) -> None:
        """Call that of all parts."""
        for part in self.parts:
            part.after_weight_step(network)

    def after_epoch(self, network: SearchNetwork, epoch: int) -> None:
        """Call that of all parts."""
        for part in self.parts:
            part.after_epoch(network, epoch)

    def genotype(self, network: SearchNetwork) -> Genotype:
        """Return that of the part that says it."""
        return self._single("genotype").genotype(network)

    def stop(self, history: Sequence[dict[str, Any]]) -> str | None:
        """Return the first reason that a part has."""
        return next(filter(None, (part.stop(history) for part in self.parts)), None)

    def _single(self, hook: str) -> Strategy:
        return next((part for part in self.parts if overrides(part, hook)), self.parts[0])


def check_combination(strategies: dict[str, Strategy]) -> None:
    """Raise ValueError, with the reason, if strategies do not go together."""
    for hook, what in SINGLE.items():
        names = [name for name, one in strategies.items() if overrides(one, hook)]
        if len(names) > 1:
            raise _refused(f"{names[0]} and {names[1]} both say {what}; expected one of them")
        if hook == "weights" and names:
            for name, one in strategies.items():
                if one.needs_softmax:
                    raise _refused(f"{name} is about softmaxed weights, and {names[0]} has others")
    staged = [name for name, one in strategies.items() if overrides(one, "stages")]
    for name, one in strategies.items():
        if staged and name not in staged and not one.any_candidates:
            raise _refused(
                f"{name} is about the weights of all candidates, and {staged[0]} leaves some out"
            )
        if overrides(one, "begin") and any(other.carries_over for other in strategies.values()):
            raise _refused(
                f"{name} keeps tensors of one network's weights, and {staged[0]} goes on with "
                "those of another"
            )
    dropping = [name for name, one in strategies.items() if overrides(one, "skip_dropout")]
    comparing = [name for name, one in strategies.items() if one.compares_passes]
    if dropping and comparing:
        raise _refused(
            f"{comparing[0]} compares passes, and {dropping[0]} drops other values in each of them"
        )
    skipping = [name for name, one in strategies.items() if one.skips_zeros]
    compared = [name for name, one in strategies.items() if one.uses_validation_gradients]
    if skipping and compared:
        raise _refused(
            f"{compared[0]} compares the gradients of all candidates, and {skipping[0]} leaves out "
            "some of them"
        )


def _refused(reason: str) -> ValueError:
    return naming(ValueError(f"strategy: {reason}"), "strategy")
