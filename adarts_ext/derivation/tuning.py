"""A step of training between two decisions of a derivation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from adarts_ext.leaves import without_gradient
from adarts_ext.nn import OperationWeights, SearchNetwork
from adarts_ext.search.step import Batch, architecture_step, trained_by, weight_step


def tuning_step(
    network: SearchNetwork,
    weight_optimizer: torch.optim.SGD,
    arch_optimizer: torch.optim.Optimizer,
    weights: Callable[[], OperationWeights],
    train_batch: Batch,
    validation_batch: Batch,
    grad_clip: float,
) -> tuple[Tensor, Tensor]:
    """Make a step of DARTS of first order, on alphas and betas and then on the layers' weights.

    It is that of the search (DARTS, arXiv 1806.09055, algorithm 1 with xi = 0), with candidates of
    which some are decided.

    Args:
        network: The supernet, in training mode.
        weight_optimizer: SGD on ``network.flat_parameters()`` or ``network.parameters()``.
        arch_optimizer: Adam on ``network.arch_parameters()``.
        weights: Gives the weights of the candidates, such as :meth:`Perturbation.weights`.
        train_batch: Images and labels of the half that trains the weights.
        validation_batch: Of the half that trains alphas and betas.
        grad_clip: Largest norm of the gradient of all weights together.

    Returns:
        The training loss before the step, a scalar in nats, and the logits (N, classes).
    """
    images, labels = validation_batch
    with without_gradient(trained_by(weight_optimizer)):
        loss = cross_entropy(network(images, weights()), labels)
        gradient = torch.autograd.grad(loss, network.arch_parameters())
    architecture_step(arch_optimizer, network.arch_parameters(), gradient)
    return weight_step(network, weight_optimizer, train_batch, grad_clip, weights())
