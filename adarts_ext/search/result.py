"""What a search comes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from adarts_ext.runs.result import RunResult


@dataclass(frozen=True, kw_only=True)
class SearchResult(RunResult):
    """What a search comes to: the genotype that it found, and how the supernet did.

    Args:
        seed: Seed of the search.
        epochs: Its epochs.
        parameters: How many weights the supernet has, beside alphas and betas.
        validation_loss: The supernet's mean cross entropy on the second half of the training
            images after the last epoch, in nats.
        validation_accuracy: Its accuracy there, in [0, 1].
        seconds: Time of all epochs.
        time: Where it went, in seconds: ``data``, ``architecture step``, ``weight step``,
            ``evaluation``, ``saving`` and ``other``, by the clock of the host
            (:class:`~adarts_ext.runs.clock.Clock`).
        images_per_second: Images that trained the weights, by the time of the steps and their data;
            None where a version that did not measure it ran a part of the epochs.
        peak_memory_bytes: The most memory taken: the device's, or the process's on the CPU.
    """

    kind: ClassVar[str] = "search"

    seed: int
    epochs: int
    parameters: int
    validation_loss: float
    validation_accuracy: float
    seconds: float
    time: dict[str, float]
    images_per_second: float | None
    peak_memory_bytes: int
