"""Runs of several seeds as an array of jobs of Slurm, through submitit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adarts_ext.arguments import naming
from adarts_ext.nn.own_candidates import LOADED, load_candidates
from adarts_ext.runs.data import run_data
from adarts_ext.runs.experiment import Experiment, SeedRun
from adarts_ext.runs.folder import holds_checkpoint
from adarts_ext.runs.stop import stop_on_request

SLURM_FOLDER = "slurm"
SECONDS_BETWEEN_LOOKS = 1.0
MOST_REQUEUES = 100

#: What a job asks for where the user names nothing else; ``time`` is in minutes.
DEFAULTS = {"job_name": "adarts", "time": 24 * 60}


@dataclass(frozen=True)
class SeedJob:
    """The run of one seed as a job, which begins it or, wherever it was stopped, goes on with it.

    Args:
        experiment: What is run.
        run: The run.
        candidates: Files of candidates of one's own that it needs.
    """

    experiment: Experiment
    run: SeedRun
    candidates: tuple[str, ...] = ()

    def __call__(self) -> None:
        """Make the run."""
        for file in self.candidates:
            load_candidates(file)
        config, folder = self.run.config, self.run.folder
        data = run_data(config, None)
        self.experiment.run(data, config, folder, holds_checkpoint(folder), (0, 0))

    def checkpoint(self) -> Any:
        """Return what submitit queues again when the job's time is up: the same."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def parse_slurm(text: str) -> dict[str, int | str]:
    """Read what jobs ask for.

    Raises:
        ValueError: If the text is something else.

    Example:
        >>> parse_slurm("partition=gpu,time=600")
        {'partition': 'gpu', 'time': 600}
    """
    pairs = [part.strip().partition("=") for part in text.split(",")]
    if not all(name and value for name, _, value in pairs):
        message = f"slurm: expected name=value set apart by commas, got {text!r}"
        raise naming(ValueError(message), "slurm")
    return {name: int(value) if value.isdecimal() else value for name, _, value in pairs}


def make_executor(folder: Path, slurm: dict[str, Any], device: str) -> Any:
    """Make what submits the jobs.

    Raises:
        ValueError: If there is no Slurm here, or it has no such parameters.
    """
    from submitit import SlurmExecutor

    gpus = {} if device == "cpu" else {"gpus_per_node": 1}
    try:
        executor = SlurmExecutor(folder / SLURM_FOLDER, max_num_timeout=MOST_REQUEUES)
        executor.update_parameters(**{**DEFAULTS, **gpus, **slurm})
    except (RuntimeError, ValueError, TypeError) as error:
        raise naming(ValueError(f"slurm: {error}"), "slurm") from error
    return executor


def run_on_slurm(
    experiment: Experiment, runs: Sequence[SeedRun], executor: Any, folder: Path
) -> None:
    """Submit an array with a job for each run, and wait until all have ended.

    A job whose time is up is queued again, and goes on from its last checkpoint. Ctrl-C and SIGTERM
    cancel the jobs, which then save.

    Args:
        experiment: What is run.
        runs: The runs.
        executor: What :func:`make_executor` gave.
        folder: The folder of all runs.

    Raises:
        ValueError: If Slurm does not take the jobs, or a run did not come to its end.
        KeyboardInterrupt, SystemExit: On Ctrl-C and on SIGTERM.
    """
    try:
        with executor.batch():
            jobs = [executor.submit(SeedJob(experiment, run, tuple(LOADED))) for run in runs]
    except RuntimeError as error:  # what sbatch said, as submitit tells it
        message = f"slurm: the jobs were not taken: {' '.join(str(error).split())}"
        raise naming(ValueError(message), "slurm") from error
    with stop_on_request() as stop:
        while not all(job.done() for job in jobs):
            if stop.received is not None:
                for job in jobs:
                    job.cancel(check=False)  # some may have ended
                break
            time.sleep(SECONDS_BETWEEN_LOOKS)
    missing = [run for run in runs if experiment.result.load(run.folder) is None]
    if missing:
        seeds = ", ".join(str(run.config.seed) for run in missing)
        message = (
            f"{folder}: no result from seeds {seeds}; what their jobs said is in "
            f"{folder / SLURM_FOLDER}; go on by resume=True"
        )
        raise naming(ValueError(message), "resume=True")
