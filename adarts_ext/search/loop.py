"""The search: alphas and betas on one half of the training images, the weights on the other."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adarts_ext.data import BatchLoader, ImageDataset, load_dataset, split
from adarts_ext.files import GENOTYPE_FILE, RESULT_FILE, open_run_folder, write_json
from adarts_ext.genotype import Genotype
from adarts_ext.nn import SearchNetwork
from adarts_ext.search.checkpoint import SearchState
from adarts_ext.search.config import SearchConfig, check_same_run, save_config
from adarts_ext.search.monitor import Monitor, describe_architecture, peak_memory
from adarts_ext.search.progress import REFRESH_STEPS, Progress
from adarts_ext.search.step import (
    Batch,
    architecture_step,
    first_order_gradient,
    second_order_gradient,
    weight_step,
)
from adarts_ext.training import (
    RunningMean,
    accuracy,
    evaluate_network,
    resolve_device,
    seed_everything,
)


def search(config: SearchConfig, run_folder: str | Path, resume: bool = False) -> Genotype:
    """Search for the cells of a network, and give the genotype that was found.

    The training images are divided in two halves. Every step trains alphas and betas on a batch
    of the second half, and then the weights on a batch of the first (DARTS, arXiv 1806.09055,
    algorithm 1). After every epoch the supernet's accuracy on the second half is measured.

    The folder gets ``config.json``, TensorBoard's event files and, after every epoch,
    ``checkpoint.pt``, ``history.json`` and ``genotypes/epoch-0001.json`` and so on; at the end
    ``genotype.json`` and ``result.json``. A run that was interrupted goes on from its last epoch,
    and on the CPU ends with the very same weights, alphas and betas.

    Args:
        config: How to search.
        run_folder: The folder of the run.
        resume: Go on with the run that the folder holds, instead of starting one.

    Raises:
        ValueError: The options do not fit the data or the run in the folder, a file is damaged, or
            the search diverged.
        OSError: The data are not there, or a file cannot be written.
    """
    folder = open_run_folder(run_folder, resume)
    if resume:
        check_same_run(folder, config)
    device = resolve_device(config.device)
    dataset = load_dataset(config.dataset, config.data_dir, config.download, config.image_size)
    train_loader, validation_loader, evaluation_loader = make_loaders(config, dataset, device)
    seed_everything(config.seed)
    network = build_network(config, dataset).to(device)
    weight_optimizer, arch_optimizer = make_optimizers(config, network)
    state = SearchState(network, weight_optimizer, arch_optimizer, train_loader, validation_loader)
    if resume:
        history = state.load(folder)
    else:
        history = []
        save_config(folder, config)

    epochs_done, steps = len(history), len(train_loader)
    with (
        Monitor(folder, history) as monitor,
        Progress(config.epochs, epochs_done, steps) as progress,
    ):
        for epoch in range(epochs_done + 1, config.epochs + 1):
            start = time.perf_counter()
            learning_rate = set_learning_rate(weight_optimizer, config, epoch)
            trained = train_epoch(state, config, epoch, progress)
            step_seconds = (time.perf_counter() - start) / steps
            validation_loss, validation_accuracy = evaluate_network(network, evaluation_loader)
            entry = {
                "epoch": epoch,
                "learning_rate": learning_rate,
                **trained,
                "validation_loss": validation_loss,
                "validation_accuracy": validation_accuracy,
                **describe_architecture(network),
                "step_seconds": step_seconds,
                "seconds": time.perf_counter() - start,
                "peak_memory_bytes": peak_memory(device),
            }
            monitor.record(entry, network.genotype())
            state.save(folder, history)
            progress.end_epoch(summary(entry, config.epochs))

    genotype = network.genotype()
    genotype.save(folder / GENOTYPE_FILE)
    write_json(folder / RESULT_FILE, result(config, dataset, network, history))
    return genotype


def train_epoch(
    state: SearchState, config: SearchConfig, epoch: int, progress: Progress
) -> dict[str, float | None]:
    """Train for one epoch; give the mean losses and the accuracy on the batches.

    Raises:
        ValueError: A loss is not finite.
    """
    network = state.network
    network.train()
    train_loss, train_accuracy, arch_loss = RunningMean(), RunningMean(), RunningMean()
    losses: list[Tensor] = []  # of each step, left on the device until they are looked at
    progress.begin_epoch(epoch)
    for step, train_batch in enumerate(state.train_loader, 1):
        losses.append(torch.zeros((), device=train_batch[0].device))
        if epoch > config.warmup_epochs:
            losses[-1] = train_architecture(state, config, train_batch)
            arch_loss.add(losses[-1])
        loss, logits = weight_step(network, state.weight_optimizer, train_batch, config.grad_clip)
        losses[-1] = losses[-1] + loss
        train_loss.add(loss)
        train_accuracy.add(accuracy(logits, train_batch[1]))

        if step % REFRESH_STEPS == 0 or step == len(state.train_loader):
            check_finite(losses, epoch)
            progress.step(train_loss.value(), train_accuracy.value())
        else:
            progress.step()
    return {
        "train_loss": train_loss.value(),
        "train_accuracy": train_accuracy.value(),
        "arch_loss": arch_loss.value() if arch_loss.weight else None,
    }


def train_architecture(state: SearchState, config: SearchConfig, train_batch: Batch) -> Tensor:
    """Train alphas and betas on the next batch of the second half; give the loss before."""
    network, validation_batch = state.network, state.validation_loader.next()
    if config.unrolled:
        loss, gradient = second_order_gradient(
            network, state.weight_optimizer, train_batch, validation_batch
        )
    else:
        loss, gradient = first_order_gradient(network, validation_batch)
    architecture_step(state.arch_optimizer, network.arch_parameters(), gradient)
    return loss


def check_finite(losses: list[Tensor], epoch: int) -> None:
    """Stop a search that diverged.

    Raises:
        ValueError: A loss is not finite; the message names the first step, counted from 1.
    """
    finite = torch.stack(losses).isfinite().tolist()
    if not all(finite):
        step = finite.index(False) + 1
        raise ValueError(
            f"the search diverged in epoch {epoch}, step {step}: its loss is not finite; "
            "a lower --learning-rate may help; the last checkpoint is as it was"
        )


def set_learning_rate(optimizer: torch.optim.Optimizer, config: SearchConfig, epoch: int) -> float:
    """Set the weights' learning rate in an epoch, counted from 1: half a cosine over the run."""
    top, bottom = config.learning_rate, config.learning_rate_min
    done = (epoch - 1) / config.epochs
    learning_rate = bottom + (top - bottom) * (1 + math.cos(math.pi * done)) / 2
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    return learning_rate


def make_optimizers(
    config: SearchConfig, network: SearchNetwork
) -> tuple[torch.optim.SGD, torch.optim.Adam]:
    """Make the optimizers of the weights and of alphas and betas."""
    weight_optimizer = torch.optim.SGD(
        network.parameters(),
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
    )
    arch_optimizer = torch.optim.Adam(
        network.arch_parameters(),
        lr=config.arch_learning_rate,
        betas=(config.arch_beta1, config.arch_beta2),
        weight_decay=config.arch_weight_decay,
    )
    return weight_optimizer, arch_optimizer


def make_loaders(
    config: SearchConfig, dataset: ImageDataset, device: torch.device
) -> tuple[BatchLoader, BatchLoader, BatchLoader]:
    """Make the loaders that train the weights, train alphas and betas, and measure the accuracy.

    The last two share the second half of the training images; the last one gives all of them, as
    they are and in their order.

    Raises:
        ValueError: A half holds no whole batch.
    """
    first, second = split(dataset, config.train_portion, config.seed)

    def make(indices: Tensor, seed: int, training: bool) -> BatchLoader:
        return BatchLoader(
            dataset.train_images[indices],
            dataset.train_labels[indices],
            config.batch_size,
            mean=dataset.mean,
            std=dataset.std,
            augment=training and config.augment,
            flip=dataset.flip,
            padding=dataset.padding,
            device=device,
            seed=seed,
            shuffle=training,
            drop_last=training,
        )

    return (
        make(first, config.seed, training=True),
        make(second, config.seed + 1, training=True),
        make(second, config.seed, training=False),
    )


def build_network(config: SearchConfig, dataset: ImageDataset) -> SearchNetwork:
    """Make the supernet for the images and classes of a data set."""
    return SearchNetwork(
        init_channels=config.init_channels,
        num_classes=dataset.num_classes,
        layers=config.layers,
        proportion=config.proportion,
        selection=config.selection,
        edge_normalization=config.edge_normalization,
        backend=config.backend,
        memory=config.memory,
        in_channels=dataset.in_channels,
        steps=config.steps,
    )


def summary(entry: dict[str, Any], epochs: int) -> str:
    """Say in one line how an epoch went."""
    left = entry["seconds"] * (epochs - entry["epoch"]) / 60
    skips = f"{entry['skip_connections_normal']} + {entry['skip_connections_reduce']}"
    return (
        f"epoch {entry['epoch']}/{epochs}: train loss {entry['train_loss']:.4f}, "
        f"train accuracy {entry['train_accuracy']:.4f}, "
        f"validation accuracy {entry['validation_accuracy']:.4f}, "
        f"skip connections {skips}, {entry['seconds']:.1f} s, {left:.0f} min left"
    )


def result(
    config: SearchConfig,
    dataset: ImageDataset,
    network: SearchNetwork,
    history: list[dict[str, Any]],
) -> dict[str, Any]:
    """Sum a run up, for ``result.json``; accuracies in [0, 1]."""
    return {
        "kind": "search",
        "dataset": dataset.name,
        "seed": config.seed,
        "epochs": config.epochs,
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "validation_loss": history[-1]["validation_loss"],
        "validation_accuracy": history[-1]["validation_accuracy"],
        "peak_memory_bytes": max(entry["peak_memory_bytes"] for entry in history),
        "seconds": sum(entry["seconds"] for entry in history),
    }
