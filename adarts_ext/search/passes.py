"""What a search has a device do with a batch; a GPU does it as CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from adarts_ext.cuda_graph import shared_memory
from adarts_ext.runs import processes
from adarts_ext.search.config import SearchConfig
from adarts_ext.search.state import SearchState
from adarts_ext.search.step import (
    architecture_step,
    first_order_gradient,
    second_order_gradient,
    trained_by,
    weight_step,
)


class Passes:
    """What a search does with a batch, as far as a GPU does it: there a CUDA graph each.

    Args:
        state: What they change.
        config: The options.
        device: Where the batches are.

    Attributes:
        train_weights: Takes the images and labels of a batch of the first half; trains the weights,
            and gives the loss before and the logits.
        train_architecture: Takes those of a batch of the second half, after those of one of the
            first for the second order; trains alphas and betas, and gives the loss before.
        forward: Takes images and gives logits.
    """

    def __init__(self, state: SearchState, config: SearchConfig, device: torch.device) -> None:
        self.state = state
        self.config = config
        memory = shared_memory(device)

        def graphed(function: Callable[..., Any]) -> Callable[..., Any]:
            if state.network.skip_zeros:  # what a pass computes hangs on values of tensors
                return function
            return processes.graphed(function, memory)

        self.train_weights = graphed(self._train_weights)
        self.train_architecture = graphed(self._train_architecture)
        self.forward = graphed(state.network)

    def _train_weights(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        state, batch = self.state, (images, labels)
        optimizer, grad_clip = state.weight_optimizer, self.config.grad_clip
        parameters = trained_by(optimizer)
        weights = state.strategy.layer_weights(state.network, batch, parameters)
        after_backward = partial(state.strategy.after_backward, state.network, batch)
        loss, logits = weight_step(
            state.network, optimizer, batch, grad_clip, weights, after_backward
        )
        state.strategy.after_weight_step(state.network)
        return loss, logits

    def _train_architecture(self, *parts: Tensor) -> Tensor:
        network, strategy = self.state.network, self.state.strategy
        weight_optimizer = self.state.weight_optimizer
        if self.config.unrolled:
            loss, gradient = second_order_gradient(
                network, weight_optimizer, parts[:2], parts[2:], strategy.loss
            )
        else:
            after_backward = None
            if strategy.uses_validation_gradients:
                parameters = trained_by(weight_optimizer)
                after_backward = partial(strategy.after_architecture_backward, network, parameters)
            loss, gradient = first_order_gradient(
                network, weight_optimizer, parts, strategy.loss, after_backward
            )
        architecture_step(self.state.arch_optimizer, network.arch_parameters(), gradient)
        return loss
