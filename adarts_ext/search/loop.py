"""The search: alphas and betas on one half of the training images, the weights on the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from adarts_ext.data import BatchLoader, ImageDataset
from adarts_ext.nn import SearchNetwork
from adarts_ext.runs.checkpoint import RunState
from adarts_ext.runs.clock import sum_up_times, time_record
from adarts_ext.runs.data import Given, config_of_given, run_data
from adarts_ext.runs.data_record import check_same_data
from adarts_ext.runs.device import peak_memory, resolve_device
from adarts_ext.runs.epochs import Epochs, begin_run, epochs_left
from adarts_ext.runs.folder import (
    GENOTYPE_FILE,
    GENOTYPES_FOLDER,
    check_run_folder,
    open_run_folder,
    sole_run,
)
from adarts_ext.runs.metrics import evaluate_network
from adarts_ext.runs.precision import set_precision
from adarts_ext.runs.schedule import cosine_learning_rate, set_learning_rate
from adarts_ext.runs.training import TrainingEpoch
from adarts_ext.search.architecture import curves, describe_architecture
from adarts_ext.search.build import build_network, make_loaders, make_optimizers
from adarts_ext.search.config import SearchConfig
from adarts_ext.search.result import SearchResult
from adarts_ext.search.step import (
    Batch,
    architecture_step,
    first_order_gradient,
    second_order_gradient,
    weight_step,
)


@dataclass(frozen=True)
class SearchState(RunState):
    """What changes during a search.

    Args:
        network: The supernet, with its alphas and betas.
        weight_optimizer: SGD on the weights.
        arch_optimizer: Adam on alphas and betas.
        train_loader: Batches of the half that trains the weights.
        validation_loader: Batches of the half that trains alphas and betas.
    """

    kind: ClassVar[str] = "search"

    network: SearchNetwork
    weight_optimizer: torch.optim.SGD
    arch_optimizer: torch.optim.Adam
    train_loader: BatchLoader
    validation_loader: BatchLoader


def search(
    config: SearchConfig,
    run_folder: str | Path,
    resume: bool = False,
    dataset: Given | None = None,
) -> SearchResult:
    """Search for the cells of a network.

    The training images are divided in two halves. Every step trains alphas and betas on a batch
    of the second half, and then the weights on a batch of the first (DARTS, arXiv 1806.09055,
    algorithm 1). After every epoch the supernet's accuracy on the second half is measured.

    The folder gets ``config.json``, TensorBoard's event files and, after every epoch,
    ``checkpoint.pt``, ``history.json`` and ``genotypes/epoch-0001.json`` and so on; at the end
    ``genotype.json`` and ``result.json``. Within an epoch there is a checkpoint every
    ``config.save_every`` minutes, and in the main thread Ctrl-C and SIGTERM let the step end and
    save one before they stop the search; a second one stops it at once. A run that was interrupted
    goes on from its last checkpoint, and on the CPU ends with the very same weights, alphas and
    betas. What does not fit the data is refused before the folder is made.

    Args:
        config: How to search.
        run_folder: The folder of the run.
        resume: Go on with the run that the folder holds, instead of starting one.
        dataset: Data of one's own, in place of those that ``config`` names: an
            :class:`~adarts_ext.data.ImageDataset`, or a map-style data set of (image, label) pairs
            (see :func:`adarts_ext.data.image_dataset`), or a tuple of two, to train and to test on,
            of which a search takes the first. To resume, give the same again.

    Returns:
        What ``result.json`` holds, and the ``genotype`` that was found.

    Raises:
        ValueError: If the options do not fit the data or the run in the folder, another run is at
            work in it, a file is damaged, or the search diverged.
        TypeError: If ``dataset`` is none of these.
        OSError: If the data are not there, or a file cannot be written.
        KeyboardInterrupt, SystemExit: After the save, on Ctrl-C and on SIGTERM (with status 143).
    """
    folder = check_run_folder(run_folder, resume)
    config = config_of_given(config, dataset)
    if resume:
        config.check_continues(folder)
    device = resolve_device(config.device)
    data = run_data(config, dataset)
    if resume:
        check_same_data(folder, data)
    train_loader, validation_loader, evaluation_loader = make_loaders(config, data, device)
    torch.manual_seed(config.seed)
    network = build_network(config, data).to(device)
    set_precision(network, config.precision)
    optimizers = make_optimizers(config, network.flat_parameters(), network.arch_parameters())
    state = SearchState(network, *optimizers, train_loader, validation_loader)
    open_run_folder(folder, resume)
    with sole_run(folder):
        return _search(config, folder, resume, data, state, evaluation_loader)


def _search(
    config: SearchConfig,
    folder: Path,
    resume: bool,
    dataset: ImageDataset,
    state: SearchState,
    evaluation_loader: BatchLoader,
) -> SearchResult:
    network, device = state.network, evaluation_loader.images.device
    history, under_way = begin_run(config, folder, resume, dataset, device, state)
    (folder / GENOTYPES_FOLDER).mkdir(exist_ok=True)
    steps = len(state.train_loader)
    with epochs_left(state, config, folder, steps, history, under_way) as epochs:
        for training in epochs:
            learning_rate = cosine_learning_rate(
                config.learning_rate, config.learning_rate_min, training.epoch, config.epochs
            )
            set_learning_rate(state.weight_optimizer, learning_rate)
            train_epoch(state, config, training, epochs)
            validation_loss, validation_accuracy = evaluate_network(
                network, epochs.watched(evaluation_loader, training)
            )
            epochs.clock.lap("evaluation")
            network.genotype().save(folder / GENOTYPES_FOLDER / f"epoch-{training.epoch:04d}.json")
            entry = {
                "epoch": training.epoch,
                "learning_rate": learning_rate,
                **training.means(),
                "arch_loss": training.other_loss(),
                "validation_loss": validation_loss,
                "validation_accuracy": validation_accuracy,
                **describe_architecture(network),
                **time_record(epochs.clock.take(), steps, steps * config.batch_size),
                "peak_memory_bytes": peak_memory(device),
            }
            epochs.end(entry, curves(entry), summary(entry, config.epochs))

    result = SearchResult(
        folder=folder,
        genotype=network.genotype(),
        dataset=dataset.name,
        seed=config.seed,
        epochs=config.epochs,
        parameters=sum(weight.numel() for weight in network.parameters()),
        validation_loss=history[-1]["validation_loss"],
        validation_accuracy=history[-1]["validation_accuracy"],
        **sum_up_times(history),
    )
    result.genotype.save(folder / GENOTYPE_FILE)
    result.save()
    return result


def train_epoch(
    state: SearchState, config: SearchConfig, training: TrainingEpoch, epochs: Epochs
) -> None:
    """Make the steps that are left of an epoch.

    Raises:
        ValueError: If a loss is not finite.
        KeyboardInterrupt, SystemExit, OSError: As :meth:`Epochs.pause` says.
    """
    network, clock = state.network, epochs.clock
    network.train()
    while training.steps_done < training.steps:
        train_batch, arch_loss = state.train_loader.next(), None
        clock.lap("data")
        if training.epoch > config.warmup_epochs:
            validation_batch = state.validation_loader.next()
            clock.lap("data")
            arch_loss = train_architecture(state, config, train_batch, validation_batch)
            clock.lap("architecture step")
        loss, logits = weight_step(network, state.weight_optimizer, train_batch, config.grad_clip)
        training.step(loss, logits, train_batch[1], arch_loss)
        clock.lap("weight step")
        epochs.pause(training)


def train_architecture(
    state: SearchState, config: SearchConfig, train_batch: Batch, validation_batch: Batch
) -> Tensor:
    """Train alphas and betas on a batch of the second half; return the loss before."""
    network = state.network
    if config.unrolled:
        loss, gradient = second_order_gradient(
            network, state.weight_optimizer, train_batch, validation_batch
        )
    else:
        loss, gradient = first_order_gradient(network, state.weight_optimizer, validation_batch)
    architecture_step(state.arch_optimizer, network.arch_parameters(), gradient)
    return loss


def summary(entry: dict[str, Any], epochs: int) -> str:
    """Describe an epoch in one line."""
    skips = f"{entry['skip_connections_normal']} + {entry['skip_connections_reduce']}"
    return (
        f"epoch {entry['epoch']}/{epochs}: train loss {entry['train_loss']:.4f}, "
        f"train accuracy {entry['train_accuracy']:.4f}, "
        f"validation accuracy {entry['validation_accuracy']:.4f}, "
        f"skip connections {skips}"
    )
