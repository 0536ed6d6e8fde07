"""Training one genotype from several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from adarts_ext.genotype import Genotype
from adarts_ext.retrain.config import RetrainConfig
from adarts_ext.retrain.loop import check_run, prepare, retrain_on
from adarts_ext.retrain.result import RetrainResult, SeedsResult
from adarts_ext.runs.data import Given
from adarts_ext.runs.seeds import Experiment, run_seeds


def retrain_seeds(
    genotype: Genotype,
    config: RetrainConfig,
    run_folder: str | Path,
    seeds: Sequence[int],
    resume: bool = False,
    dataset: Given | None = None,
    slurm: dict[str, Any] | None = None,
) -> RetrainResult | SeedsResult:
    """Train a genotype once for each seed, and sum the results up.

    Folders and devices are as in :func:`adarts_ext.runs.seeds.run_seeds`.

    Args:
        genotype: The two cells.
        config: How to train; its own ``seed`` is not used.
        run_folder: The folder of the run or runs.
        seeds: The seeds, without repetition.
        resume: Go on with the runs that the folder holds; a seed that was not begun starts.
        dataset: Data of one's own, as :func:`retrain` takes them.
        slurm: What a job of Slurm asks for, such as ``{"partition": "gpu"}``; None for no jobs.

    Returns:
        For one seed the result of :func:`adarts_ext.retrain.retrain`. For several their summary:
        mean and sample standard deviation of the accuracies, and the results of the ``runs``.

    Raises:
        ValueError: If there is no seed or a repeated one, or as :func:`retrain` says.
        OSError: If the data are not there, or a file cannot be written.
    """
    training = training_of(genotype)
    return run_seeds(training, config, run_folder, seeds, resume, dataset, slurm)


def training_of(genotype: Genotype) -> Experiment:
    """Return the training of a genotype, as what is run from each of several seeds."""
    return Experiment(
        check=partial(check_run, genotype),
        prepare=partial(prepare, genotype),
        run=partial(retrain_on, genotype),
        result=RetrainResult,
        sum_up=SeedsResult.of,
        genotype=genotype,
    )
