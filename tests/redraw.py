"""Weights and running statistics of networks, drawn anew."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def draw_weights(network: nn.Module) -> None:
    """Draw the weights of all layers as they draw them when they are made, which takes longer."""
    for module in network.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()


def draw_running_statistics(network: nn.Module, images: Tensor) -> None:
    """Set running statistics to those of ``images``, each a little off, as training leaves them.

    Arbitrary ones would leave nothing of a small signal behind the first ReLU: a network in
    evaluation would give zeros.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momentum = [norm.momentum for norm in norms]
    training = network.training
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(images)
    network.train(training)
    for norm, before in zip(norms, momentum, strict=True):
        norm.momentum = before
        norm.running_mean.add_(0.1 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean))
        norm.running_var.mul_(torch.empty_like(norm.running_var).uniform_(0.8, 1.25))
        norm.num_batches_tracked.zero_()
