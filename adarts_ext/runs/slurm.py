"""Runs of several seeds as an array of jobs of Slurm, through submitit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adarts_ext.arguments import naming
from adarts_ext.files import write_atomic
from adarts_ext.runs.experiment import Experiment, SeedRun
from adarts_ext.runs.share import describe_share, make_share
from adarts_ext.runs.stop import stop_on_request

SLURM_FOLDER = "slurm"
SECONDS_BETWEEN_LOOKS = 1.0
MOST_REQUEUES = 100

#: What a job asks for where the user names nothing else; ``time`` is in minutes.
DEFAULTS = {"job_name": "adarts", "time": 24 * 60}


@dataclass(frozen=True)
class SeedJob:
    """The run of one seed as a job, which begins it or, wherever it was stopped, goes on with it.

    submitit hands it over as a pickle, so it holds nothing but a name.

    Args:
        share: The file that says what to run.
    """

    share: str

    def __call__(self) -> None:
        """Make the run."""
        make_share(Path(self.share).read_text())

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
    (folder / SLURM_FOLDER).mkdir(exist_ok=True)
    shares = [_write_share(experiment, run, folder / SLURM_FOLDER) for run in runs]
    try:
        with executor.batch():
            jobs = [executor.submit(SeedJob(str(share))) for share in shares]
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


def _write_share(experiment: Experiment, run: SeedRun, folder: Path) -> Path:
    text = describe_share(experiment, [run])
    path = folder / f"{run.folder.name}.json"
    write_atomic(path, lambda file: file.write(text.encode()))
    return path
