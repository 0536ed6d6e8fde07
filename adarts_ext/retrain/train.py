"""Training a derived network from the start to the end."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from adarts_ext.data import BatchLoader, ImageDataset, load_dataset
from adarts_ext.files import (
    CHECKPOINT_FILE,
    HISTORY_FILE,
    RESULT_FILE,
    TENSORBOARD_FOLDER,
    check_same_options,
    load_checkpoint,
    open_run_folder,
    save_checkpoint,
    write_json,
)
from adarts_ext.genotype import Genotype
from adarts_ext.nn import DerivedNetwork
from adarts_ext.retrain.config import RetrainConfig, load_run, save_run
from adarts_ext.retrain.network import build_network, load_weights, network_cost
from adarts_ext.training import (
    RunningMean,
    accuracy,
    evaluate_network,
    resolve_device,
    rng_state,
    seed_everything,
    set_rng_state,
)

# Options that say where a run goes on, not what it computes.
PLACE_OPTIONS = ("data_dir", "download", "device")


def retrain(
    genotype: Genotype,
    config: RetrainConfig,
    run_folder: str | Path,
    resume: bool = False,
) -> dict[str, Any]:
    """Train the network of a genotype from random weights, and test it after every epoch.

    SGD with momentum on a cosine learning rate, gradients clipped by their norm, cutout, drop
    path rising linearly, and an auxiliary head, as DARTS does (arXiv 1806.09055, appendix A.2).

    The folder gets ``config.json``, ``genotype.json``, TensorBoard's event files and, after every
    epoch, ``checkpoint.pt`` and ``history.json``; at the end ``result.json``. A run that was
    interrupted goes on from its last epoch, and on the CPU ends with the very same weights.

    Args:
        genotype: the two cells.
        config: how to train.
        run_folder: the folder of the run.
        resume: go on with the run that the folder holds, instead of starting one.

    Returns:
        What ``result.json`` holds: accuracies in [0, 1] of the last and of the best epoch
        (counted from 1), parameters, floating-point operations of one image, seconds.

    Raises:
        ValueError: the options do not fit the data or the run in the folder, a file is damaged,
            or the training diverged.
        OSError: the data are not there, or a file cannot be written.
    """
    folder = open_run_folder(run_folder, resume)
    if resume:
        check_same_run(folder, genotype, config)
    device = resolve_device(config.device)
    dataset = load_dataset(config.dataset, config.data_dir, config.download, config.image_size)
    train_loader = make_train_loader(dataset, config, device)
    test_loader = make_test_loader(dataset, config, device)
    cost = network_cost(genotype, config, dataset)

    seed_everything(config.seed)
    network = build_network(genotype, config, dataset).to(device)
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
    )
    scheduler = CosineAnnealingLR(optimizer, config.epochs, eta_min=config.learning_rate_min)
    history: list[dict[str, Any]] = []

    if resume:
        checkpoint = load_checkpoint(folder / CHECKPOINT_FILE, "retrain")
        load_weights(network, checkpoint, folder / CHECKPOINT_FILE)
        optimizer.load_state_dict(checkpoint["optimizer"])
        scheduler.load_state_dict(checkpoint["scheduler"])
        train_loader.load_state_dict(checkpoint["loader"])
        set_rng_state(checkpoint["rng"])
        history = checkpoint["history"]
    else:
        save_run(folder, genotype, config)

    epochs_done = len(history)
    with (
        SummaryWriter(str(folder / TENSORBOARD_FOLDER), purge_step=epochs_done + 1) as writer,
        tqdm(
            total=config.epochs * len(train_loader),
            initial=epochs_done * len(train_loader),
            unit="batch",
            dynamic_ncols=True,
            disable=None,
        ) as bar,
    ):
        for epoch in range(epochs_done + 1, config.epochs + 1):
            start = time.perf_counter()
            learning_rate = scheduler.get_last_lr()[0]
            network.drop_path_prob = config.drop_path_prob * (epoch - 1) / config.epochs
            bar.set_description(f"epoch {epoch}/{config.epochs}")
            train_loss, train_accuracy = train_epoch(network, train_loader, optimizer, config, bar)
            if not math.isfinite(train_loss):
                raise ValueError(
                    f"the training diverged in epoch {epoch}, its loss is {train_loss}; "
                    "a lower --learning-rate may help"
                )
            test_loss, test_accuracy = evaluate_network(network, test_loader)
            scheduler.step()

            scalars = {
                "learning_rate": learning_rate,
                "train_loss": train_loss,
                "train_accuracy": train_accuracy,
                "test_loss": test_loss,
                "test_accuracy": test_accuracy,
                "seconds": time.perf_counter() - start,
            }
            history.append({"epoch": epoch, **scalars})
            for name, scalar in scalars.items():
                writer.add_scalar(name, scalar, epoch)
            bar.write(
                f"epoch {epoch}/{config.epochs}: train loss {train_loss:.4f}, "
                f"train accuracy {train_accuracy:.4f}, test accuracy {test_accuracy:.4f}, "
                f"{scalars['seconds']:.1f} s",
                file=sys.stderr,
            )
            write_json(folder / HISTORY_FILE, history)
            save_checkpoint(
                folder / CHECKPOINT_FILE,
                {
                    "kind": "retrain",
                    "network": network.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "scheduler": scheduler.state_dict(),
                    "loader": train_loader.state_dict(),
                    "rng": rng_state(),
                    "history": history,
                },
            )

    best = max(history, key=lambda entry: entry["test_accuracy"])
    result = {
        "kind": "retrain",
        "dataset": dataset.name,
        "seed": config.seed,
        "epochs": config.epochs,
        **cost,
        "test_accuracy_last": history[-1]["test_accuracy"],
        "test_accuracy_best": best["test_accuracy"],
        "best_epoch": best["epoch"],
        "seconds": sum(entry["seconds"] for entry in history),
    }
    write_json(folder / RESULT_FILE, result)
    return result


def train_epoch(
    network: DerivedNetwork,
    loader: BatchLoader,
    optimizer: torch.optim.Optimizer,
    config: RetrainConfig,
    bar: tqdm,
) -> tuple[float, float]:
    """Train for one epoch; give the mean loss and the accuracy of the main head on its batches."""
    network.train()
    mean_loss, mean_accuracy = RunningMean(), RunningMean()
    for step, (images, labels) in enumerate(loader):
        if config.auxiliary:
            logits, auxiliary_logits = network(images)
            loss = nn.functional.cross_entropy(logits, labels)
            auxiliary_loss = nn.functional.cross_entropy(auxiliary_logits, labels)
            objective = loss + config.auxiliary_weight * auxiliary_loss
        else:
            logits = network(images)
            objective = loss = nn.functional.cross_entropy(logits, labels)
        optimizer.zero_grad()
        objective.backward()
        nn.utils.clip_grad_norm_(network.parameters(), config.grad_clip)
        optimizer.step()

        mean_loss.add(loss, len(labels))
        mean_accuracy.add(accuracy(logits, labels), len(labels))
        if not bar.disable and step % 10 == 0:  # reading the means waits for the device
            bar.set_postfix(
                loss=f"{mean_loss.value():.3f}",
                accuracy=f"{mean_accuracy.value():.3f}",
                refresh=False,
            )
        bar.update()
    return mean_loss.value(), mean_accuracy.value()


def make_train_loader(
    dataset: ImageDataset, config: RetrainConfig, device: torch.device
) -> BatchLoader:
    """Make the loader of all training images.

    Raises:
        ValueError: the batch is larger than the training images, or the cutout than an image.
    """
    cutout = min(dataset.image_size) // 2 if config.cutout is None else config.cutout
    return BatchLoader(
        dataset.train_images,
        dataset.train_labels,
        config.batch_size,
        mean=dataset.mean,
        std=dataset.std,
        augment=config.augment,
        flip=dataset.flip,
        padding=dataset.padding,
        cutout=cutout,
        device=device,
        seed=config.seed,
    )


def make_test_loader(
    dataset: ImageDataset, config: RetrainConfig, device: torch.device
) -> BatchLoader:
    """Make the loader of all test images, which come as they are and in their order."""
    return BatchLoader(
        dataset.test_images,
        dataset.test_labels,
        config.batch_size,
        mean=dataset.mean,
        std=dataset.std,
        augment=False,
        flip=False,
        padding=0,
        device=device,
        seed=0,
        shuffle=False,
        drop_last=False,
    )


def check_same_run(folder: Path, genotype: Genotype, config: RetrainConfig) -> None:
    """Refuse to go on with a run under another genotype or other options.

    Raises:
        ValueError: something that changes what is computed differs.
    """
    begun_genotype, begun_config = load_run(folder)
    if genotype != begun_genotype:
        raise ValueError(f"{folder}: the run trains another genotype than the one given")
    check_same_options(folder, asdict(begun_config), asdict(config), PLACE_OPTIONS)
