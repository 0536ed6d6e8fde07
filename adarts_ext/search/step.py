"""The two halves of a search step: one on alphas and betas, one on the weights.

Each backward pass computes only the gradients it is asked for: what a half does not train is
switched off before its forward pass, so that nothing is kept or computed for it. Where several
processes have a part each of a batch, gradients are the means over all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_

from adarts_ext.central_difference import central_difference
from adarts_ext.leaves import put_back, without_gradient
from adarts_ext.nn import OperationWeights, SearchNetwork
from adarts_ext.nn.processes import average_gradients, averaged

Batch = tuple[Tensor, Tensor]
ExtraLoss = Callable[[SearchNetwork], Tensor | None]


def weight_step(
    network: SearchNetwork,
    optimizer: torch.optim.SGD,
    batch: Batch,
    grad_clip: float,
    weights: OperationWeights | None = None,
    after_backward: Callable[[Sequence[Tensor]], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Make one SGD step on the weights; alphas and betas get no gradient.

    Args:
        network: The supernet, in training mode.
        optimizer: SGD on ``network.parameters()`` or ``network.flat_parameters()``.
        batch: Images (N, C, H, W) and labels (N,) of the half that trains the weights.
        grad_clip: Largest norm of the gradient of all weights together.
        weights: Those of the candidates, in the place of the network's own.
        after_backward: What is done with the weights that the optimizer trains when they have their
            gradients, before those are clipped.

    Returns:
        The cross entropy before the step, a scalar in nats, and the logits (N, classes).
    """
    images, labels = batch
    with without_gradient(network.arch_parameters()):
        logits = network(images) if weights is None else network(images, weights.detach())
        loss = cross_entropy(logits, labels)
        # In place: the gradients of the flat weights are what those of the layers are views of.
        flat = isinstance(network, SearchNetwork) and not network.skip_zeros
        optimizer.zero_grad(set_to_none=not flat)
        loss.backward()
        if after_backward is not None:
            after_backward(trained_by(optimizer))
    average_gradients(trained_by(optimizer))
    clip_grad_norm_(trained_by(optimizer), grad_clip)
    optimizer.step()
    return loss.detach(), logits.detach()


def architecture_step(
    optimizer: torch.optim.Optimizer, arch_parameters: Sequence[Tensor], gradient: Sequence[Tensor]
) -> None:
    """Make one step on alphas and betas along a given gradient."""
    for parameter, part in zip(arch_parameters, gradient, strict=True):
        parameter.grad = part
    optimizer.step()


def first_order_gradient(
    network: SearchNetwork,
    weight_optimizer: torch.optim.SGD,
    validation_batch: Batch,
    extra_loss: ExtraLoss | None = None,
    after_backward: Callable[[Sequence[Tensor]], None] | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """Return the gradient of the validation loss in alphas and betas at the present weights.

    ``d L_val(w, alpha) / d alpha``: DARTS (arXiv 1806.09055, section 2.3) with xi = 0. As in DARTS,
    the pass counts in BatchNorm's running statistics.

    Args:
        network: The supernet, in training mode.
        weight_optimizer: SGD on the weights, as in :func:`weight_step`.
        validation_batch: A batch of the half that trains alphas and betas.
        extra_loss: What is added to the validation loss, if anything.
        after_backward: What is done with the gradients in the weights that the optimizer trains;
            None if those are not wanted.

    Returns:
        The validation loss with what is added, a scalar in nats, and one gradient for each of
        ``network.arch_parameters()``.
    """
    weights, arch = trained_by(weight_optimizer), network.arch_parameters()
    if after_backward is not None:
        loss = _loss(network, validation_batch, extra_loss)
        gradient = _gradient(loss, [*arch, *weights])
        after_backward(gradient[len(arch) :])
        return loss.detach(), gradient[: len(arch)]
    with without_gradient(weights):
        loss = _loss(network, validation_batch, extra_loss)
        gradient = _gradient(loss, arch)
    return loss.detach(), gradient


def second_order_gradient(
    network: SearchNetwork,
    weight_optimizer: torch.optim.SGD,
    train_batch: Batch,
    validation_batch: Batch,
    extra_loss: ExtraLoss | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """Return the gradient of the validation loss in alphas and betas through a step of the weights.

    With w' = w - xi * (momentum * buffer + d L_train(w, alpha)/dw + decay * w), the step that SGD
    is about to make, unclipped, it is (DARTS, arXiv 1806.09055, equations 7 and 8)::

        d L_val(w', alpha)/d alpha  -  xi * d^2 L_train(w, alpha)/(d alpha dw) . d L_val/dw'

    The product in the second term is that of :func:`hessian_vector_product`. The weights are moved
    in place and then put back bit for bit, so that ``memory="recompute"``, which runs parts of the
    network again during backward, sees the moved ones. BatchNorm's running statistics are put back
    too: none of these passes belongs to the network as it is. (The code of DARTS makes this
    true of the pass at w' only, and lets the three on the training batch count.)

    Args:
        network: The supernet, in training mode.
        weight_optimizer: SGD on the weights, as in :func:`weight_step`; its learning rate is xi.
        train_batch: The batch that the weights' step is about to use.
        validation_batch: A batch of the other half.
        extra_loss: What is added to the validation loss, if anything.

    Returns:
        The validation loss at w' with what is added, a scalar in nats, and one gradient for each of
        ``network.arch_parameters()``.
    """
    weights, arch = trained_by(weight_optimizer), network.arch_parameters()
    (group,) = weight_optimizer.param_groups
    xi = group["lr"]
    with put_back(network.buffers()):
        with without_gradient(arch):
            direction = _gradient(_loss(network, train_batch), weights)
        with put_back(weights):
            with torch.no_grad():
                # Not in place: autograd may have given the same tensor for two of the weights.
                direction = torch._foreach_add(direction, weights, alpha=group["weight_decay"])
                for weight, part in zip(weights, direction, strict=True):
                    buffer = weight_optimizer.state[weight].get("momentum_buffer")
                    if buffer is not None:
                        part.add_(buffer, alpha=group["momentum"])
                torch._foreach_sub_(weights, torch._foreach_mul(direction, xi))
            loss = _loss(network, validation_batch, extra_loss)
            gradient = _gradient(loss, [*arch, *weights])
        direct, vector = gradient[: len(arch)], gradient[len(arch) :]
        implicit = hessian_vector_product(network, weights, train_batch, vector)
    return loss.detach(), [a - xi * b for a, b in zip(direct, implicit, strict=True)]


def hessian_vector_product(
    network: SearchNetwork,
    weights: Sequence[Tensor],
    batch: Batch,
    vector: Sequence[Tensor],
    distance: float = 0.01,
) -> list[Tensor]:
    """Return ``d^2 L/(d alpha dw) . v``, a central difference of the gradient in alphas and betas.

    ``(dL/d alpha (w + r v) - dL/d alpha (w - r v)) / 2r`` with r = distance / ||v|| (DARTS,
    arXiv 1806.09055, equation 8); the error falls with the square of ``distance``. The weights are
    put back bit for bit.

    Args:
        network: The supernet.
        weights: w, ``network.parameters()`` or ``network.flat_parameters()``.
        batch: Images and labels of the loss L.
        vector: v, one tensor for each of ``weights``.
        distance: How far the weights are moved each way, in the norm over all of them.

    Returns:
        One tensor for each of ``network.arch_parameters()``.
    """
    arch = network.arch_parameters()

    def gradient() -> list[Tensor]:
        with without_gradient(weights):
            return _gradient(_loss(network, batch), arch)

    return central_difference(gradient, weights, vector, distance)


def trained_by(optimizer: torch.optim.SGD) -> list[Tensor]:
    """Return what an optimizer trains; a network takes far longer to say what it has."""
    return [weight for group in optimizer.param_groups for weight in group["params"]]


def _loss(
    network: SearchNetwork,
    batch: Batch,
    extra_loss: ExtraLoss | None = None,
) -> Tensor:
    images, labels = batch
    loss = cross_entropy(network(images), labels)
    extra = None if extra_loss is None else extra_loss(network)
    return loss if extra is None else loss + extra


def _gradient(loss: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    return averaged(torch.autograd.grad(loss, tensors))
