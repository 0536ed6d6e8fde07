"""Making the runs of a comparison, one after another."""

from __future__ import annotations

import sys
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch

from adarts_ext.arguments import naming
from adarts_ext.bench.parts.memory import kept_bytes
from adarts_ext.bench.rows import rounded, write_rows
from adarts_ext.compare.plan import PLAN_FILE, Plan
from adarts_ext.compare.report import write_report
from adarts_ext.compare.rows import ROWS_FILE, Row, read_runs
from adarts_ext.data import ImageDataset
from adarts_ext.genotype import Genotype, random_genotype
from adarts_ext.nn.candidates import parse_space
from adarts_ext.retrain.seeds import training_of
from adarts_ext.runs import processes
from adarts_ext.runs.data import run_data
from adarts_ext.runs.device import resolve_device
from adarts_ext.runs.diverged import DivergedRuns
from adarts_ext.runs.experiment import Experiment
from adarts_ext.runs.folder import holds_checkpoint, sole_run
from adarts_ext.runs.options import RunConfig
from adarts_ext.runs.precision import set_precision
from adarts_ext.runs.result import RunResult
from adarts_ext.search.build import build_network
from adarts_ext.search.config import SearchConfig
from adarts_ext.search.seeds import SEARCH


def compare(plan: Plan, folder: str | Path, resume: bool = False) -> list[Row]:
    """Search with every arm from every seed, and train and test what each search found.

    Runs are made one after another, a seed of every arm before the next one. Each has its run
    folders, ``folder/<arm>/seed-<seed>/search`` and ``.../retrain``. The folder itself gets
    ``plan.json``; and after every run ``runs.jsonl``, a line a run, and ``comparison.md`` and
    ``comparison.svg`` with what they come to. What ``runs.jsonl`` has is not done again, even where
    its run folders are gone.

    Args:
        plan: What is compared.
        folder: The folder of the comparison.
        resume: Go on with the comparison that the folder holds; it may have other arms and seeds
            than before.

    Returns:
        What ``runs.jsonl`` holds of this plan; see :mod:`adarts_ext.compare.rows`.

    Raises:
        ValueError: If the folder holds another comparison, the options do not fit the data or each
            other, a file is damaged, several processes run this, or a run diverged, once all the
            others are made.
        OSError: If the data are not there, or a file cannot be written.
    """
    folder = Path(folder)
    if processes.count() > 1:
        raise ValueError(f"compare: expected one process, got {processes.count()} by torchrun")
    if resume:
        plan.check_continues(Plan.load(folder))
    elif (folder / PLAN_FILE).exists():
        message = (
            f"{folder}: already holds a comparison; go on with it by resume=True, or choose "
            "another folder"
        )
        raise naming(ValueError(message), "resume=True")
    data = Data()
    _try_all(plan, data)
    folder.mkdir(parents=True, exist_ok=True)
    with sole_run(folder):
        plan.save(folder)
        rows = read_runs(folder / ROWS_FILE)
        done = {(row["arm"], row["seed"]) for row in rows}
        left = [run for run in plan.runs() if run not in done]
        epochs, diverged = [plan.epochs(arm) for arm, _ in left], DivergedRuns()
        for place, (arm, seed) in enumerate(left):
            print(f"run {place + 1} of {len(left)}: {arm}, seed {seed}", file=sys.stderr)
            others = sum(epochs[:place]), sum(epochs[place + 1 :])
            with diverged.passed_over(f"{arm}, seed {seed}"):
                row = make_run(plan, arm, seed, folder / arm / f"seed-{seed}", others, data)
                rows.append(rounded(row))  # as the file has it
                write_rows(folder / ROWS_FILE, rows)
                write_report(plan, rows, folder)
        if not left:  # the plan may have fewer arms now
            write_report(plan, rows, folder)
    diverged.check(len(left))
    return plan.select(rows)


class Data:
    """The data of runs, loaded once for all whose options name the same."""

    def __init__(self) -> None:
        self._loaded: dict[tuple[Any, ...], ImageDataset] = {}

    def of(self, config: RunConfig) -> ImageDataset:
        """Return those that the options name; raises what :func:`run_data` does."""
        names = [one.name for one in fields(RunConfig) if one.name not in ("seed", "save_every")]
        key = tuple(getattr(config, name) for name in names)
        if key not in self._loaded:
            self._loaded[key] = run_data(config, None)
        return self._loaded[key]


def _try_all(plan: Plan, data: Data) -> None:
    """Refuse, before anything is made, what does not fit its data."""
    for config in plan.arms.values():
        SEARCH.prepare(config, data.of(config))
    if plan.retrain is not None:
        training_of(genotype_at_random(plan, 0)).prepare(plan.retrain, data.of(plan.retrain))


def genotype_at_random(plan: Plan, seed: int) -> Genotype:
    """Draw one of what the first arm chooses from."""
    first = next(iter(plan.arms.values()))
    return random_genotype(seed, first.steps, parse_space(first.space))


def make_run(
    plan: Plan, arm: str, seed: int, folder: Path, others: tuple[int, int], data: Data
) -> Row:
    """Make the run of an arm from a seed, or what is left of it; return its row.

    Args:
        plan: What is compared.
        arm: The arm.
        seed: Its seed.
        folder: Where its runs lie.
        others: Epochs of the runs before and after it.
        data: What it is run on.
    """
    before, after = others
    search, config = None, plan.arms.get(arm)
    if config is None:
        genotype = genotype_at_random(plan, seed)
    else:
        config = replace(config, seed=seed)
        images, training = data.of(config), plan.epochs(arm) - config.epochs
        found = _run(SEARCH, config, images, folder / "search", (before, training + after))
        genotype = found.genotype
        search = found.record() | {"kept_bytes": kept_by_search(config, images)}
    retrain = None
    if plan.retrain is not None:
        options = replace(plan.retrain, seed=seed)
        searched = 0 if config is None else config.epochs
        images, experiment = data.of(options), training_of(genotype)
        ended = _run(experiment, options, images, folder / "retrain", (before + searched, after))
        retrain = ended.record()
    return {
        "arm": arm,
        "seed": seed,
        "genotype": asdict(genotype),
        "search": search,
        "retrain": retrain,
    }


def _run(
    experiment: Experiment,
    config: RunConfig,
    data: ImageDataset,
    folder: Path,
    others: tuple[int, int],
) -> RunResult:
    ended = experiment.result.load(folder)
    if ended is not None:
        return ended
    resume = holds_checkpoint(folder)
    experiment.check(config, folder, resume)
    with processes.joined(resolve_device(config.device)):
        return experiment.run(data, config, folder, resume, others)


def kept_by_search(config: SearchConfig, data: ImageDataset) -> int:
    """Bytes that autograd keeps after a forward pass of the supernet on a batch."""
    device = resolve_device(config.device)
    network = build_network(config, data).to(device)
    set_precision(network, config.precision)
    images = torch.rand(config.batch_size, data.in_channels, *data.image_size, device=device)
    known = [*network.parameters(), *network.buffers(), *network.arch_parameters(), images]
    return kept_bytes(lambda: network(images), known)
