"""Training a derived network from the start to the end."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from adarts_ext.data import BatchLoader, ImageDataset
from adarts_ext.genotype import Genotype
from adarts_ext.nn import DerivedNetwork
from adarts_ext.nn.processes import average_gradients
from adarts_ext.retrain.build import (
    build_network,
    make_average,
    make_optimizer,
    make_test_loader,
    make_train_loader,
    place_network,
)
from adarts_ext.retrain.compiled import compile_cells
from adarts_ext.retrain.config import RetrainConfig
from adarts_ext.retrain.cost import network_cost
from adarts_ext.retrain.result import RetrainResult
from adarts_ext.runs import processes
from adarts_ext.runs.checkpoint import RunState
from adarts_ext.runs.clock import sum_up_times, time_record
from adarts_ext.runs.data import Given, config_of_given, run_data
from adarts_ext.runs.data_record import check_same_data
from adarts_ext.runs.device import peak_memory, resolve_device
from adarts_ext.runs.epochs import Epochs, begin_run, epochs_left
from adarts_ext.runs.folder import GENOTYPE_FILE, check_run_folder, open_run_folder, sole_run
from adarts_ext.runs.metrics import evaluate_network
from adarts_ext.runs.schedule import SCHEDULES, set_learning_rate, warmed_up
from adarts_ext.runs.training import TrainingEpoch


@dataclass(frozen=True)
class RetrainState(RunState):
    """What changes during a training.

    Args:
        network: The network of the genotype.
        optimizer: SGD on its weights.
        loader: Batches of the training images.
        average: The moving average of the network, where it has one.
    """

    kind: ClassVar[str] = "retrain"

    network: DerivedNetwork
    optimizer: torch.optim.SGD
    loader: BatchLoader
    average: AveragedModel | None


def retrain(
    genotype: Genotype,
    config: RetrainConfig,
    run_folder: str | Path,
    resume: bool = False,
    dataset: Given | None = None,
) -> RetrainResult:
    """Train the network of a genotype from random weights, and test it after every epoch.

    SGD with momentum on a cosine learning rate, gradients clipped by their norm, cutout, drop
    path rising linearly, and an auxiliary head, as DARTS does (arXiv 1806.09055, appendix A.2).

    The folder gets ``config.json``, ``genotype.json``, TensorBoard's event files and, after every
    epoch, ``checkpoint.pt`` and ``history.json``; at the end ``result.json``. Checkpoints within an
    epoch, Ctrl-C and SIGTERM are as in :func:`adarts_ext.search.search`: a run that was interrupted
    goes on from its last checkpoint, and on the CPU ends with the very same weights. What does not
    fit the data is refused before the folder is made.

    Args:
        genotype: The two cells.
        config: How to train.
        run_folder: The folder of the run.
        resume: Go on with the run that the folder holds, instead of starting one.
        dataset: Data of one's own, in place of those that ``config`` names: an
            :class:`~adarts_ext.data.ImageDataset`, or a tuple of two map-style data sets of (image,
            label) pairs, to train and to test on (see :func:`adarts_ext.data.image_dataset`). To
            resume, give the same again.

    Returns:
        What ``result.json`` holds: accuracies in [0, 1] of the last and of the best epoch
        (counted from 1), parameters, multiply-adds (MAC) and FLOP of one image, seconds.

    Raises:
        ValueError: If the options do not fit the data or the run in the folder, another run is at
            work in it, a file is damaged, or the training diverged.
        TypeError: If ``dataset`` is none of these.
        OSError: If the data are not there, a file cannot be written, or another process of the run
            has ended (ConnectionError).
        KeyboardInterrupt, SystemExit: After the save, on Ctrl-C and on SIGTERM (with status 143).
    """
    config = config_of_given(config, dataset)
    folder = check_run(genotype, config, run_folder, resume)
    with processes.joined(resolve_device(config.device)):
        return retrain_on(genotype, run_data(config, dataset), config, folder, resume)


def check_run(
    genotype: Genotype, config: RetrainConfig, run_folder: str | Path, resume: bool
) -> Path:
    """Refuse a folder that is not for this training, before its data are loaded; return it.

    Raises:
        ValueError: If the folder holds another run, or with ``resume`` one of other options.
        OSError: If it holds no run to go on with, or cannot be written to.
    """
    folder = check_run_folder(run_folder, resume)
    if resume:
        config.check_continues(folder)
        check_same_genotype(folder, genotype)
    return folder


def retrain_on(
    genotype: Genotype,
    data: ImageDataset,
    config: RetrainConfig,
    folder: Path,
    resume: bool,
    other_epochs: tuple[int, int] = (0, 0),
) -> RetrainResult:
    """Do what :func:`retrain` does, on data that are loaded, in one of several trainings perhaps.

    Args:
        genotype: The two cells.
        data: What :func:`adarts_ext.runs.data.run_data` gave.
        config: How to train, as :func:`adarts_ext.runs.data.config_of_given` gave it.
        folder: The run's folder, which :func:`check_run` has passed.
        resume: Go on with the run that the folder holds.
        other_epochs: Epochs of the trainings before this one and of those that follow it, which
            the progress shown includes.
    """
    if resume:
        check_same_data(folder, data)
    state, test_loader, cost = prepare(genotype, config, data)
    open_run_folder(folder, resume)
    with sole_run(folder):
        return _retrain(
            genotype, config, folder, resume, data, state, test_loader, cost, other_epochs
        )


def prepare(
    genotype: Genotype, config: RetrainConfig, data: ImageDataset
) -> tuple[RetrainState, BatchLoader, dict[str, int]]:
    """Build what a training needs, and write nothing.

    Returns:
        What changes during the training, the batches to test on, and what the network costs.

    Raises:
        ValueError: If the options do not fit the data, or the device is not there.
    """
    device = resolve_device(config.device)
    train_loader = make_train_loader(config, data, device)
    test_loader = make_test_loader(config, data, device)
    cost = network_cost(genotype, config, data)
    torch.manual_seed(config.seed)
    network = place_network(build_network(genotype, config, data), config, device)
    average = make_average(config, network)
    if config.compile:
        compile_cells(network)
    state = RetrainState(network, make_optimizer(config, network), train_loader, average)
    return state, test_loader, cost


def _retrain(
    genotype: Genotype,
    config: RetrainConfig,
    folder: Path,
    resume: bool,
    dataset: ImageDataset,
    state: RetrainState,
    test_loader: BatchLoader,
    cost: dict[str, int],
    other_epochs: tuple[int, int],
) -> RetrainResult:
    network, device = state.network, test_loader.device
    tested = network if state.average is None else state.average.module
    history, under_way = begin_run(config, folder, resume, dataset, device, state)
    if not resume and processes.is_first():
        genotype.save(folder / GENOTYPE_FILE)
    steps, forward = len(state.loader), processes.graphed(tested)
    with epochs_left(state, config, folder, steps, history, under_way, other_epochs) as epochs:
        for training in epochs:
            learning_rate = epoch_learning_rate(config, training.epoch)
            set_learning_rate(state.optimizer, learning_rate)
            network.drop_path_prob = config.drop_path_prob * (training.epoch - 1) / config.epochs
            train_epoch(state, config, training, epochs)
            processes.take_statistics_of_first(network)
            if tested is not network:
                processes.take_statistics_of_first(tested)
            test_loss = test_accuracy = None
            if training.epoch % config.test_every == 0 or training.epoch == config.epochs:
                test_loss, test_accuracy = evaluate_network(
                    tested, epochs.watched(test_loader, training), forward
                )
                epochs.clock.lap("evaluation")
            entry = {
                "epoch": training.epoch,
                "learning_rate": learning_rate,
                **training.means(),
                "test_loss": test_loss,
                "test_accuracy": test_accuracy,
                **time_record(epochs.clock.take(), steps, steps * config.batch_size),
                "peak_memory_bytes": peak_memory(device),
            }
            numbers = {
                name: value
                for name, value in entry.items()
                if name not in ("epoch", "time") and value is not None
            }
            epochs.end(entry, numbers, summary(entry, config))

    tests = [entry for entry in history if entry["test_accuracy"] is not None]
    best = max(tests, key=lambda entry: entry["test_accuracy"])
    result = RetrainResult(
        folder=folder,
        genotype=genotype,
        dataset=dataset.name,
        seed=config.seed,
        epochs=config.epochs,
        **cost,
        test_accuracy_last=history[-1]["test_accuracy"],
        test_accuracy_best=best["test_accuracy"],
        best_epoch=best["epoch"],
        **sum_up_times(history),
    )
    if processes.is_first():
        result.save()
    return result


def epoch_learning_rate(config: RetrainConfig, epoch: int) -> float:
    """Return the learning rate of an epoch, counted from 1."""
    fall = SCHEDULES[config.schedule]
    rate = fall(config.learning_rate, config.learning_rate_min, epoch, config.epochs)
    return warmed_up(rate, epoch, config.lr_warmup_epochs)


def train_epoch(
    state: RetrainState, config: RetrainConfig, training: TrainingEpoch, epochs: Epochs
) -> None:
    """Make the steps that are left of an epoch.

    Raises:
        ValueError: If a loss is not finite.
        KeyboardInterrupt, SystemExit, OSError: As :meth:`Epochs.pause` says.
    """
    # Captured anew in every epoch: the probability to drop a path is a number of its graph.
    step = processes.graphed(partial(train_step, state, config))
    state.network.train()
    while training.steps_done < training.steps:
        images, labels = state.loader.next()
        epochs.clock.lap("data")
        loss, logits = step(images, labels)
        if state.average is not None:  # not in a graph: whether it is the first asks the host
            state.average.update_parameters(state.network)
        training.step(loss, logits, labels)
        epochs.clock.lap("weight step")
        epochs.pause(training)


def train_step(
    state: RetrainState, config: RetrainConfig, images: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Make one SGD step on a batch; return the main head's loss before it, and its logits."""
    network = state.network
    cross_entropy = partial(nn.functional.cross_entropy, label_smoothing=config.label_smoothing)
    if config.auxiliary:
        logits, auxiliary_logits = network(images)
        loss = cross_entropy(logits, labels)
        objective = loss + config.auxiliary_weight * cross_entropy(auxiliary_logits, labels)
    else:
        logits = network(images)
        objective = loss = cross_entropy(logits, labels)
    state.optimizer.zero_grad()
    objective.backward()
    average_gradients(network.parameters())
    nn.utils.clip_grad_norm_(network.parameters(), config.grad_clip)
    state.optimizer.step()
    return loss.detach(), logits.detach()


def check_same_genotype(folder: Path, genotype: Genotype) -> None:
    """Refuse to go on with a run under another genotype.

    Raises:
        ValueError: If the run trains another one, or its file is damaged.
    """
    if Genotype.load(folder / GENOTYPE_FILE) != genotype:
        raise ValueError(f"{folder}: the run trains another genotype than the one given")


def summary(entry: dict[str, Any], config: RetrainConfig) -> str:
    """Describe an epoch in one line."""
    line = (
        f"seed {config.seed}, epoch {entry['epoch']}/{config.epochs}: "
        f"train loss {entry['train_loss']:.4f}, train accuracy {entry['train_accuracy']:.4f}"
    )
    if entry["test_accuracy"] is None:
        return line
    return f"{line}, test accuracy {entry['test_accuracy']:.4f}"
