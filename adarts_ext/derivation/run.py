"""Deriving a genotype from the last checkpoint of a search, and keeping what was found."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from adarts_ext.data import BatchLoader
from adarts_ext.derivation.cost import Cost
from adarts_ext.derivation.searched import Searched, load_searched
from adarts_ext.derivation.state import begin, tune_epoch
from adarts_ext.derivation.strength import (
    operation_strengths,
    removal_losses,
    removals,
    strengths_of_losses,
)
from adarts_ext.files import read_json, write_json
from adarts_ext.genotype import Genotype, derive_from_scores, state_name
from adarts_ext.nn import OperationWeights
from adarts_ext.nn.candidates import present
from adarts_ext.runs.data import Given
from adarts_ext.runs.folder import GENOTYPE_FILE, holds_checkpoint, sole_run
from adarts_ext.runs.options import LARGEST_SEED, check_choice, check_range
from adarts_ext.search.build import make_loaders

CRITERIA = ("strength", "strength-exact", "perturbation")
DERIVATIONS_FOLDER = "derivations"
SCORES_FILE, LOSSES_FILE, DECISIONS_FILE = "scores.json", "losses.json", "decisions.json"


def derive_run(
    run_folder: str | Path,
    criterion: str,
    seed: int = 0,
    tuning_epochs: int = 5,
    device: str = "auto",
    data_dir: str | None = None,
    download: bool = False,
    dataset: Given | None = None,
) -> Genotype:
    """Derive a genotype from the last checkpoint of a search by what operations are worth to it.

    All is measured on the half of the training images that trains alphas and betas, as they are.
    What is found is saved on the way, in a folder of its own in ``derivations`` in that of the run;
    the same call goes on there, to the same bits, or gives what it came to. The run's own files
    stay as they are.

    Args:
        run_folder: The folder of the search, ended or not.
        criterion: ``"strength"`` is :func:`operation_strengths`, ``"strength-exact"``
            :func:`exact_strengths`, and ``"perturbation"`` :class:`Perturbation`, with
            :func:`tuning_step` between the turns, at a tenth of the search's learning rate.
        seed: Seed of the order of a perturbation.
        tuning_epochs: Epochs after each of its turns.
        device: auto, cpu, cuda or cuda:<number>.
        data_dir: Where the data set's files are; None for where they were in the search.
        download: Fetch a published data set when it is not there.
        dataset: Data of one's own, as :func:`adarts_ext.search.search` takes them.

    Raises:
        ValueError: If an argument is out of its range; if the tuning diverges, or the same
            derivation is at work; or as :func:`~adarts_ext.derivation.searched.load_searched` says.
        FileNotFoundError: If the folder holds no run or no checkpoint, or the data are not there.
        OSError: If a file cannot be written.
    """
    check_choice("criterion", criterion, CRITERIA)
    check_range("seed", seed, 0, LARGEST_SEED)
    check_range("tuning_epochs", tuning_epochs, 0)
    searched = load_searched(run_folder, device, data_dir, download, dataset)
    settings = f"-seed-{seed}-tuning-{tuning_epochs}" if criterion == "perturbation" else ""
    name = f"{criterion}-{searched.place()}{settings}"
    work = Path(run_folder) / DERIVATIONS_FOLDER / name
    if (work / GENOTYPE_FILE).is_file():
        say(f"{work}: derived already")
        return Genotype.load(work / GENOTYPE_FILE)
    work.mkdir(parents=True, exist_ok=True)
    with sole_run(work):
        if criterion == "perturbation":
            genotype = _by_perturbation(searched, work, seed, tuning_epochs)
        else:
            find = _strength if criterion == "strength" else _strength_exact
            strengths = find(searched, work)
            write_json(work / SCORES_FILE, {k: v.tolist() for k, v in strengths._asdict().items()})
            alphas = searched.network.alphas_normal, searched.network.alphas_reduce
            genotype = derive_from_scores(
                *(
                    scores.masked_fill(~present(of_kind), -torch.inf)
                    for scores, of_kind in zip(strengths, alphas, strict=True)
                )
            )
        genotype.save(work / GENOTYPE_FILE)
    return genotype


def _strength(searched: Searched, work: Path) -> OperationWeights:
    batches = _evaluation_batches(searched)
    with _progress(searched, work, Cost(gradients=1), len(batches)) as bar:
        return operation_strengths(searched.network, Counted(batches, bar))


def _strength_exact(searched: Searched, work: Path) -> OperationWeights:
    network, batches = searched.network, _evaluation_batches(searched)
    losses = read_json(work / LOSSES_FILE) if (work / LOSSES_FILE).is_file() else []
    cost = Cost(evaluations=1 + len(removals(network)) - len(losses))
    with _progress(searched, work, cost, len(batches)) as bar:
        for loss in removal_losses(network, Counted(batches, bar), len(losses)):
            losses.append(loss)
            write_json(work / LOSSES_FILE, losses)
    return strengths_of_losses(network, losses)


def _by_perturbation(searched: Searched, work: Path, seed: int, tuning_epochs: int) -> Genotype:
    state, batches = begin(searched, seed)
    selection, epochs = state.selection, []
    if holds_checkpoint(work):
        epochs, _ = state.load(work)
    cost = Cost(
        evaluations=selection.passes_left(),
        epochs=tuning_epochs * (selection.turns - 1) - len(epochs),
    )
    with (
        searched.network.unchanging(),
        _progress(searched, work, cost, len(batches), len(state.train_loader)) as bar,
    ):
        while not selection.done:
            if len(epochs) < tuning_epochs * selection.turn:
                grad_clip = searched.config.grad_clip
                epochs.append(tune_epoch(state, grad_clip, len(epochs) + 1, bar))
            else:
                decided = len(selection.decisions)
                selection.measure_next(Counted(batches, bar))
                for decision in selection.decisions[decided:]:
                    say(describe_decision(decision))
                    write_json(work / DECISIONS_FILE, selection.decisions)
            state.save(work, epochs)
    return selection.genotype()


def _evaluation_batches(searched: Searched) -> BatchLoader:
    return make_loaders(searched.config, searched.data, searched.device)[2]


@dataclass(frozen=True)
class Counted:
    """Batches that a bar counts."""

    batches: BatchLoader
    bar: tqdm

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in self.batches:
            yield batch
            self.bar.update()


@contextmanager
def _progress(
    searched: Searched, work: Path, cost: Cost, batches: int, steps: int = 0
) -> Iterator[tqdm]:
    """Say what is to be done, and show how it gets on."""
    say(f"{work}: {cost.describe(searched.checkpoint['history'])}")
    total = (cost.evaluations + cost.gradients) * batches + cost.epochs * steps
    with tqdm(desc="derive", total=total, unit="batch", dynamic_ncols=True, disable=None) as bar:
        yield bar


def say(line: str) -> None:
    """Print a line on stderr, above a bar."""
    tqdm.write(line, file=sys.stderr)


def describe_decision(decision: dict[str, Any]) -> str:
    """Say what was decided, in one line.

    Example:
        >>> accuracies = {"skip_connect": 0.5, "sep_conv_3x3": 0.25}
        >>> edge = {"cell": "normal", "edge": 2, "kept": "sep_conv_3x3", "accuracies": accuracies}
        >>> describe_decision(edge)
        'normal cell, input 0 to node 3: keeps sep_conv_3x3, accuracy without it 0.2500'
        >>> describe_decision({"cell": "reduce", "node": 3, "kept": [0, 2]})
        'reduce cell, node 3: keeps the edges from input 0 and node 2'
    """
    where, kept = f"{decision['cell']} cell", decision["kept"]
    if "node" in decision:
        sources = " and ".join(map(state_name, kept))
        return f"{where}, {state_name(decision['node'])}: keeps the edges from {sources}"
    edge, node = decision["edge"], 2
    while edge >= node:
        edge, node = edge - node, node + 1
    without = decision["accuracies"][kept]
    return (
        f"{where}, {state_name(edge)} to {state_name(node)}: keeps {kept}, accuracy without it "
        f"{without:.4f}"
    )
