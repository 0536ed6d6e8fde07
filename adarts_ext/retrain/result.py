"""What trainings of a genotype come to: one from one seed, or several from several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from adarts_ext.genotype import Genotype
from adarts_ext.runs.result import RunResult, SeedsSummary, common_numbers, mean_and_deviation


@dataclass(frozen=True, kw_only=True)
class RetrainResult(RunResult):
    """What the training of a genotype comes to.

    Args:
        seed: Seed of the training.
        epochs: Its epochs.
        parameters: How many weights the network has without the auxiliary head, as papers count.
        parameters_with_auxiliary: How many it has with the auxiliary head, if the run trains one.
        macs: Multiply-adds in the forward pass of one image, as papers report them.
        flops: Multiplications and additions in it: twice ``macs``.
        test_accuracy_last: Accuracy on the test images after the last epoch, in [0, 1].
        test_accuracy_best: Accuracy on them after the best of the epochs that were tested after.
        best_epoch: That epoch, counted from 1.
        seconds: Time of all epochs.
        time: Where it went, and ``images_per_second`` and ``peak_memory_bytes``: as in
            :class:`adarts_ext.search.SearchResult`, without an architecture step.
        images_per_second: See ``time``.
        peak_memory_bytes: See ``time``; None as ``images_per_second``.
    """

    kind: ClassVar[str] = "retrain"

    seed: int
    epochs: int
    parameters: int
    parameters_with_auxiliary: int
    macs: int
    flops: int
    test_accuracy_last: float
    test_accuracy_best: float
    best_epoch: int
    seconds: float
    time: dict[str, float]
    images_per_second: float | None
    peak_memory_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class SeedsResult(SeedsSummary):
    """What the trainings of one genotype from several seeds come to.

    Args:
        genotype: The two cells.
        seeds: The seeds.
        epochs: Epochs of each training.
        parameters: As in each training.
        macs: As in each training.
        flops: As in each training.
        test_accuracy_last_mean: Mean accuracy after the last epoch, in [0, 1].
        test_accuracy_last_std: Its sample standard deviation (over n - 1).
        test_accuracy_best_mean: Mean accuracy after the best epoch.
        test_accuracy_best_std: Its sample standard deviation.
        seconds: Time of all epochs of all trainings.
        time: Where it went.
        images_per_second: The mean over the trainings.
        peak_memory_bytes: The most memory that one took.
        runs: The results of the trainings, in the order of the seeds.
    """

    kind: ClassVar[str] = "retrain"

    genotype: Genotype
    epochs: int
    parameters: int
    macs: int
    flops: int
    test_accuracy_last_mean: float
    test_accuracy_last_std: float
    test_accuracy_best_mean: float
    test_accuracy_best_std: float
    seconds: float
    time: dict[str, float]
    images_per_second: float | None
    peak_memory_bytes: int | None

    @classmethod
    def of(cls, runs: Sequence[RetrainResult], folder: Path) -> SeedsResult:
        """Sum up trainings that differ in nothing but their seeds."""
        return cls(
            genotype=runs[0].genotype,
            macs=runs[0].macs,
            flops=runs[0].flops,
            **mean_and_deviation(runs, "test_accuracy_last"),
            **mean_and_deviation(runs, "test_accuracy_best"),
            **common_numbers(runs, folder),
        )
