"""Runs that differ in nothing but their seeds, since one run says little."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from adarts_ext.arguments import naming
from adarts_ext.files import read_json, write_json
from adarts_ext.runs import processes
from adarts_ext.runs.data import Given, config_of_given, run_data
from adarts_ext.runs.device import resolve_device
from adarts_ext.runs.devices import open_devices, run_on_devices
from adarts_ext.runs.experiment import Experiment, SeedRun, run_in_turn
from adarts_ext.runs.folder import SEEDS_FILE, holds_checkpoint, seed_folders, sole_run
from adarts_ext.runs.options import LARGEST_SEED, RunConfig, check_range, check_type
from adarts_ext.runs.result import RunResult, SeedsSummary
from adarts_ext.runs.slurm import make_executor, run_on_slurm

MOST_SEEDS = 10_000


def run_seeds(
    experiment: Experiment,
    config: RunConfig,
    run_folder: str | Path,
    seeds: Sequence[int],
    resume: bool,
    dataset: Given | None,
    slurm: dict[str, Any] | None,
) -> RunResult | SeedsSummary:
    """Make a run from each seed, and sum the results up.

    One seed is one run, in ``run_folder`` itself. Several are one run each, in
    ``run_folder/seed-<seed>``, ``run_folder/seeds.json`` names them, and ``run_folder/result.json``
    gets the summary. They are made one after another; where there are several GPUs, and the device
    is none of them in particular, each GPU makes a share of them; with ``slurm`` they are an array
    of jobs, for which the call waits. Data given in Python are for the first of these ways alone.

    Args:
        experiment: What is run.
        config: How; its own ``seed`` is not used.
        run_folder: The folder of the run or runs.
        seeds: The seeds, without repetition.
        resume: Go on with the runs that the folder holds; those that have ended stay as they are,
            and a seed that was not begun starts.
        dataset: Data of one's own, or None.
        slurm: What a job of Slurm asks for, by the names of ``submitit.SlurmExecutor``; None to
            make the runs here.

    Returns:
        For one seed its result, for several their summary.

    Raises:
        ValueError: If there is no seed or a repeated one, there is no Slurm, a run diverged, once
            all the others are made, or as the run says.
        ModuleNotFoundError: If submitit is not installed, and ``slurm`` is given.
        OSError: If the data are not there, or a file cannot be written; or, under torchrun,
            another process of the run has ended (ConnectionError).
    """
    check_seeds(seeds)
    config, folder = config_of_given(config, dataset), Path(run_folder)
    if slurm is not None and (len(seeds) == 1 or dataset is not None or processes.count() > 1):
        message = "slurm: expected none with one seed, data given in Python or torchrun"
        raise naming(ValueError(f"{message}, got {slurm}"), "slurm")
    if len(seeds) == 1:
        config = replace(config, seed=seeds[0])
        experiment.check(config, folder, resume)
        with processes.joined(resolve_device(config.device)):
            return experiment.run(run_data(config, dataset), config, folder, resume, (0, 0))
    if holds_checkpoint(folder):
        raise ValueError(f"{folder}: already holds the run of one seed; choose another folder")
    runs = [
        SeedRun(replace(config, seed=seed), path, resume and holds_checkpoint(path))
        for seed in seeds
        for path in [folder / f"seed-{seed}"]
    ]
    if resume and not any(run.resume for run in runs):
        raise FileNotFoundError(f"{folder}: no run of these seeds to resume")
    for run in runs:
        experiment.check(run.config, run.folder, run.resume)  # all before days go into the first
    ended = [experiment.result.load(run.folder) for run in runs]
    left = [run for run, result in zip(runs, ended, strict=True) if result is None]
    devices = [] if dataset is not None else open_devices(config.device)
    executor = None if slurm is None else make_executor(folder, slurm, config.device)
    away = executor is not None or len(devices) > 1
    with processes.joined(resolve_device("cpu" if executor is not None else config.device)):
        data = run_data(config, dataset) if left else None
        if left:  # what does not fit leaves no folder
            experiment.prepare(replace(config, device="cpu") if away else config, data)
        if processes.is_first():
            folder.mkdir(parents=True, exist_ok=True)
        with sole_run(folder):
            if processes.is_first():
                known = seeds_of(folder, type(config)) if resume else []
                write_json(folder / SEEDS_FILE, list(dict.fromkeys([*known, *seeds])))
            if executor is not None and left:
                run_on_slurm(experiment, left, executor, folder)
            elif away:
                run_on_devices(experiment, left, devices, folder)
            if away:
                made = iter([experiment.result.load(run.folder) for run in left])
            else:
                made = iter(run_in_turn(experiment, data, left))
            results = [next(made) if result is None else result for result in ended]
            summary = experiment.sum_up(results, folder)
            if processes.is_first():
                summary.save()
    return summary


def check_seeds(seeds: Sequence[int]) -> None:
    """Refuse seeds that no runs can be made from.

    Raises:
        ValueError: If there is none, one comes twice, or one is no seed.
    """
    if not seeds or len(set(seeds)) != len(seeds):
        raise naming(ValueError(f"seeds: expected different numbers, got {list(seeds)}"), "seeds")
    for seed in seeds:
        check_type("seeds", seed, int)
        check_range("seeds", seed, 0, LARGEST_SEED)


def parse_seeds(text: str) -> list[int]:
    """Read seeds, and ranges of seeds, that commas set apart.

    Raises:
        ValueError: If the text is something else, or names more than :data:`MOST_SEEDS`.

    Example:
        >>> parse_seeds("0..3,9")
        [0, 1, 2, 3, 9]
    """
    seeds: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", part.strip(), re.ASCII)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if last < first:
            message = (
                "seeds: expected whole numbers set apart by commas, or ranges such as 0..7, got "
                f"{text}"
            )
            raise naming(ValueError(message), "seeds")
        if len(seeds) + last - first >= MOST_SEEDS:
            message = f"seeds: expected at most {MOST_SEEDS} numbers, got {text}"
            raise naming(ValueError(message), "seeds")
        seeds += range(first, last + 1)
    return seeds


def seeds_of(folder: Path, config_class: type[RunConfig]) -> list[int]:
    """Read which seeds the run or the runs in a folder have, those not begun included.

    Args:
        folder: The folder.
        config_class: The options of the kind of run that it holds.

    Raises:
        FileNotFoundError: If the folder holds no run.
        ValueError: If it holds a run of another kind, or a damaged file.
    """
    path = folder / SEEDS_FILE
    if path.is_file():
        seeds = read_json(path)
        if not isinstance(seeds, list) or not all(type(seed) is int for seed in seeds):
            raise ValueError(f"{path}: damaged, expected a list of whole numbers")
        return seeds
    folders = seed_folders(folder)  # without that file where an earlier version made them
    return [config_class.load(one).seed for one in folders or [folder]]
