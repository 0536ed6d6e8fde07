"""SDARTS-ADV: the layers are trained at the worst weights of the candidates nearby."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from adarts_ext.leaves import without_gradient
from adarts_ext.nn import OperationWeights, SearchNetwork
from adarts_ext.nn.processes import averaged
from adarts_ext.strategies.sdarts_rs import SdartsRs, onto_simplex


class SdartsAdv(SdartsRs):
    """Adversarial training (SmoothDARTS, arXiv 2002.05283).

    A step of the layers' weights is made at ``w + delta``, w = softmax(alpha), where delta is to
    make the training loss as large as it becomes within [-epsilon, epsilon]: by 7 steps of
    ``2 epsilon / 7 sign(dL / dw)`` from a random start as that of SDARTS-RS. After each, delta is
    clipped, and w + delta is clipped to [0, 1] and divided by its total, an edge at a time. The
    network is in evaluation mode there; where the loss has not risen, delta is 0, as in the
    authors' code. epsilon is that of SDARTS-RS. It takes nine more passes.
    """

    steps = 7

    def layer_weights(
        self, network: SearchNetwork, batch: tuple[Tensor, Tensor], parameters: Sequence[Tensor]
    ) -> OperationWeights:
        """Climb to the worst weights."""
        start = network.operation_weights().detach()
        network.eval()
        try:
            with without_gradient([*parameters, *network.arch_parameters()]):
                return self._worst(network, batch, start)
        finally:
            network.train()

    def _worst(
        self, network: SearchNetwork, batch: tuple[Tensor, Tensor], start: OperationWeights
    ) -> OperationWeights:
        def loss(weights: OperationWeights) -> Tensor:
            return cross_entropy(network(batch[0], weights), batch[1])

        moved = OperationWeights(*map(self._smoothed, start))
        for _ in range(self.steps):
            leaves = OperationWeights(*(one.requires_grad_() for one in moved))
            slopes = averaged(torch.autograd.grad(loss(leaves), leaves))
            moved = OperationWeights(*map(self._climbed, start, leaves.detach(), slopes))
        before, after = averaged([loss(start), loss(moved)])
        both = zip(start, moved, strict=True)
        return OperationWeights(*(torch.where(before > after, *two) for two in both))

    def _climbed(self, start: Tensor, weights: Tensor, slope: Tensor) -> Tensor:
        epsilon = self.epsilon.to(start.dtype)
        delta = weights + 2 * epsilon / self.steps * slope.sign() - start
        return onto_simplex(start + delta.clamp(-epsilon, epsilon))
