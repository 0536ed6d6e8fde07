"""Searching from several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adarts_ext.runs.data import Given
from adarts_ext.runs.seeds import Experiment, run_seeds
from adarts_ext.search.config import SearchConfig
from adarts_ext.search.loop import check_run, prepare, search_on
from adarts_ext.search.result import SearchResult, SweepResult

SEARCH = Experiment(
    check=check_run, prepare=prepare, run=search_on, result=SearchResult, sum_up=SweepResult.of
)


def search_seeds(
    config: SearchConfig,
    run_folder: str | Path,
    seeds: Sequence[int],
    resume: bool = False,
    dataset: Given | None = None,
    slurm: dict[str, Any] | None = None,
) -> SearchResult | SweepResult:
    """Search once for each seed, and sum the results up.

    Folders and devices are as in :func:`adarts_ext.runs.seeds.run_seeds`.

    Args:
        config: How to search; its own ``seed`` is not used.
        run_folder: The folder of the run or runs.
        seeds: The seeds, without repetition.
        resume: Go on with the runs that the folder holds; a seed that was not begun starts.
        dataset: Data of one's own, as :func:`search` takes them.
        slurm: What a job of Slurm asks for, such as ``{"partition": "gpu"}``; None for no jobs.

    Returns:
        For one seed the result of :func:`adarts_ext.search.search`. For several their summary:
        mean and sample standard deviation of the supernets' accuracies, how far the genotypes
        agree, and the results of the ``runs``.

    Raises:
        ValueError: If there is no seed or a repeated one, or as :func:`search` says.
        OSError: If the data are not there, or a file cannot be written.
    """
    return run_seeds(SEARCH, config, run_folder, seeds, resume, dataset, slurm)
