"""What a derivation takes: passes over images, and the time that those took in the search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adarts_ext.runs.clock import duration


@dataclass(frozen=True)
class Cost:
    """What is still to be done.

    Args:
        evaluations: Passes forward over the validation half.
        gradients: Passes forward and backward over it.
        epochs: Epochs of training.

    Example:
        >>> Cost(evaluations=197).describe([])
        '197 passes over the validation half'
    """

    evaluations: int = 0
    gradients: int = 0
    epochs: int = 0

    def describe(self, history: Sequence[dict[str, Any]]) -> str:
        """Say it in words, with the time where the search's ``history`` tells it."""
        parts = [
            (self.evaluations, "over the validation half"),
            (self.gradients, "forward and backward over the validation half"),
        ]
        words = [f"{n} pass{'es' * (n > 1)} {what}" for n, what in parts if n]
        if self.epochs:
            words.append(f"{self.epochs} epoch{'s' * (self.epochs > 1)} of tuning")
        seconds = self.seconds(history)
        time = "" if seconds is None else f"; about {duration(seconds)}, by the times of the search"
        return (" and ".join(words) or "nothing left to compute") + time

    def seconds(self, history: Sequence[dict[str, Any]]) -> float | None:
        """Return how long it takes by the last epoch of a search; None if there is none yet.

        A step on the alphas is a pass forward and backward; where the last epoch made none, in the
        warm-up, a step on the weights stands for it.
        """
        if not history or "time" not in history[-1]:
            return None
        time = history[-1]["time"]
        gradient = time["architecture step"] or time["weight step"]
        epoch = time["data"] + gradient + time["weight step"]
        return (
            self.evaluations * time["evaluation"] + self.gradients * gradient + self.epochs * epoch
        )
