"""What changes while a genotype is derived by perturbation, and how it is tuned."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from adarts_ext.data import BatchLoader
from adarts_ext.derivation.perturbation import Perturbation
from adarts_ext.derivation.searched import Searched
from adarts_ext.derivation.tuning import tuning_step
from adarts_ext.nn import SearchNetwork
from adarts_ext.runs.checkpoint import RunState
from adarts_ext.runs.diverged import DivergedError
from adarts_ext.runs.metrics import RunningMean, accuracy
from adarts_ext.search.build import make_loaders, make_optimizers

RATE = 0.1  # of the tuning, as a part of the search's learning rate at its start


@dataclass(frozen=True)
class PerturbationState(RunState):
    """What changes during a selection by perturbation.

    Args:
        network: The supernet, with its alphas and betas.
        weight_optimizer: SGD on the weights, begun anew.
        arch_optimizer: Adam on alphas and betas, that of the search.
        train_loader: Batches of the half that trains the weights.
        validation_loader: Batches of the half that trains alphas and betas.
        selection: What is decided.
    """

    kind: ClassVar[str] = "perturbation"

    network: SearchNetwork
    weight_optimizer: torch.optim.SGD
    arch_optimizer: torch.optim.Adam
    train_loader: BatchLoader
    validation_loader: BatchLoader
    selection: Perturbation


def begin(searched: Searched, seed: int) -> tuple[PerturbationState, BatchLoader]:
    """Make the state at the beginning, and the batches to measure accuracies on."""
    torch.manual_seed(seed)
    config = replace(
        searched.config,
        learning_rate=RATE * searched.config.learning_rate,
        learning_rate_min=0.0,
    )
    train_loader, validation_loader, evaluation = make_loaders(
        config, searched.data, searched.device
    )
    network = searched.network
    optimizers = make_optimizers(config, network.flat_parameters(), network.arch_parameters())
    optimizers[1].load_state_dict(searched.checkpoint["arch_optimizer"])
    selection = Perturbation(network, seed)
    return (
        PerturbationState(network, *optimizers, train_loader, validation_loader, selection),
        evaluation,
    )


def tune_epoch(state: PerturbationState, grad_clip: float, epoch: int, bar: Any) -> dict[str, Any]:
    """Tune for an epoch of the training half, at the constant rate of the optimizer.

    Returns:
        The record of the epoch: ``epoch``, ``train_loss`` and ``train_accuracy``.

    Raises:
        DivergedError: If the loss is not finite.
    """
    state.network.train()
    loss, fraction = RunningMean(), RunningMean()
    for _ in range(len(state.train_loader)):
        batch = state.train_loader.next()
        batch_loss, logits = tuning_step(
            state.network,
            state.weight_optimizer,
            state.arch_optimizer,
            state.selection.weights,
            batch,
            state.validation_loader.next(),
            grad_clip,
        )
        loss.add(batch_loss)
        fraction.add(accuracy(logits, batch[1]))
        bar.update()
    if not math.isfinite(loss.value()):
        raise DivergedError(f"the tuning diverged in epoch {epoch}: its loss is not finite")
    return {"epoch": epoch, "train_loss": loss.value(), "train_accuracy": fraction.value()}
