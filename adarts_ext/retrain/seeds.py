"""Training one genotype from several seeds, since one run says little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from adarts_ext.arguments import naming
from adarts_ext.files import read_json, write_json
from adarts_ext.genotype import Genotype
from adarts_ext.retrain.config import RetrainConfig, seed_folders
from adarts_ext.retrain.loop import check_run, prepare, retrain, retrain_on
from adarts_ext.retrain.result import RetrainResult, SeedsResult
from adarts_ext.runs import processes
from adarts_ext.runs.checkpoint import load_newest
from adarts_ext.runs.data import Given, config_of_given, run_data
from adarts_ext.runs.device import resolve_device
from adarts_ext.runs.folder import SEEDS_FILE, holds_checkpoint, sole_run
from adarts_ext.runs.options import LARGEST_SEED, check_range, check_type


def retrain_seeds(
    genotype: Genotype,
    config: RetrainConfig,
    run_folder: str | Path,
    seeds: Sequence[int],
    resume: bool = False,
    dataset: Given | None = None,
) -> RetrainResult | SeedsResult:
    """Train a genotype once for each seed, and sum the results up.

    One seed is one run, in ``run_folder`` itself. Several are one run each, in
    ``run_folder/seed-<seed>``, ``run_folder/seeds.json`` names them, and ``run_folder/result.json``
    gets the summary.

    Args:
        genotype: The two cells.
        config: How to train; its own ``seed`` is not used.
        run_folder: The folder of the run or runs.
        seeds: The seeds, without repetition.
        resume: Go on with the runs that the folder holds; a seed that was not begun starts.
        dataset: Data of one's own, as :func:`retrain` takes them.

    Returns:
        For one seed the result of :func:`adarts_ext.retrain.retrain`. For several their summary:
        mean and sample standard deviation of the accuracies, and the results of the ``runs``.

    Raises:
        ValueError: If there is no seed or a repeated one, or as :func:`retrain` says.
        OSError: If the data are not there, or a file cannot be written.
    """
    if not seeds or len(set(seeds)) != len(seeds):
        raise naming(ValueError(f"seeds: expected different numbers, got {list(seeds)}"), "seeds")
    for seed in seeds:
        check_type("seeds", seed, int)
        check_range("seeds", seed, 0, LARGEST_SEED)
    if len(seeds) == 1:
        return retrain(genotype, replace(config, seed=seeds[0]), run_folder, resume, dataset)
    config = config_of_given(config, dataset)
    configs = [replace(config, seed=seed) for seed in seeds]
    folder = Path(run_folder)
    if holds_checkpoint(folder):
        raise ValueError(f"{folder}: already holds the run of one seed; choose another folder")
    folders = [folder / f"seed-{seed}" for seed in seeds]
    begun = [resume and holds_checkpoint(path) for path in folders]
    if resume and not any(begun):
        raise FileNotFoundError(f"{folder}: no run of these seeds to resume")
    for one, path, seed_resume in zip(configs, folders, begun, strict=True):
        check_run(genotype, one, path, seed_resume)  # all before days go into the first
    done = [
        len(load_newest(path, "retrain")[0]["history"]) if seed_resume else 0
        for path, seed_resume in zip(folders, begun, strict=True)
    ]
    with processes.joined(resolve_device(config.device)):
        data = run_data(config, dataset)
        prepare(genotype, config, data)  # what does not fit leaves no folder
        if processes.is_first():
            folder.mkdir(parents=True, exist_ok=True)
        with sole_run(folder):
            if processes.is_first():
                write_json(folder / SEEDS_FILE, list(seeds))
            runs = [
                retrain_on(
                    data,
                    genotype,
                    configs[k],
                    folders[k],
                    begun[k],
                    (k * config.epochs, sum(config.epochs - epochs for epochs in done[k + 1 :])),
                )
                for k in range(len(seeds))
            ]
            summary = SeedsResult.of(runs, folder)
            if processes.is_first():
                summary.save()
    return summary


def seeds_of(folder: Path) -> list[int]:
    """Read which seeds the run or the runs in a folder have, those not begun included.

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
    return [RetrainConfig.load(one).seed for one in folders or [folder]]
