"""What is run from each of several seeds, and making such runs one after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adarts_ext.data import ImageDataset
from adarts_ext.genotype import Genotype
from adarts_ext.runs.checkpoint import load_newest
from adarts_ext.runs.diverged import DivergedRuns
from adarts_ext.runs.options import RunConfig
from adarts_ext.runs.result import RunResult, SeedsSummary


@dataclass(frozen=True)
class Experiment:
    """What is run from each seed: a search, or the training of a genotype.

    Args:
        check: Refuses a folder that is not for a run, given its options, the folder and whether it
            goes on.
        prepare: Builds what a run needs, given its options and data, and writes nothing.
        run: Makes a run, given its data, options and folder, whether it goes on, and the epochs of
            the runs before and after it.
        result: What a run comes to.
        sum_up: What several come to, given their results and the folder of all.
        genotype: The genotype that is trained, None of a search.
    """

    check: Callable[[Any, Path, bool], Path]
    prepare: Callable[[Any, ImageDataset], object]
    run: Callable[[ImageDataset, Any, Path, bool, tuple[int, int]], RunResult]
    result: type[RunResult]
    sum_up: Callable[[Sequence[Any], Path], SeedsSummary]
    genotype: Genotype | None = None


@dataclass(frozen=True)
class SeedRun:
    """The run of one seed that is to be made.

    Args:
        config: Its options.
        folder: Its folder.
        resume: Whether it goes on.
    """

    config: RunConfig
    folder: Path
    resume: bool

    def epochs_left(self) -> int:
        """Return how many epochs it still has."""
        if not self.resume:
            return self.config.epochs
        return self.config.epochs - len(load_newest(self.folder, self.config.kind)[0]["history"])


def run_in_turn(
    experiment: Experiment, data: ImageDataset, runs: Sequence[SeedRun]
) -> list[RunResult]:
    """Make runs one after another; the progress that is shown is over all of them.

    Raises:
        ValueError: If a run diverged, once all the others are made; or as the run says.
    """
    epochs = [run.epochs_left() for run in runs]
    results, diverged = [], DivergedRuns()
    for place, run in enumerate(runs):
        others = (place * run.config.epochs, sum(epochs[place + 1 :]))
        with diverged.passed_over(f"seed {run.config.seed}"):
            results.append(experiment.run(data, run.config, run.folder, run.resume, others))
    diverged.check(len(runs))
    return results
