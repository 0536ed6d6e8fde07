"""The strength of an operation: how much the loss rises without it.

After OStr-DARTS (arXiv 2409.14433), where an operation's strength is its effect on the final loss;
the normalisation, none, is ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy

from adarts_ext.derivation.measure import Batches, as_in_training, measure
from adarts_ext.genotype.candidates import choices
from adarts_ext.leaves import without_gradient
from adarts_ext.nn import OperationWeights, SearchNetwork


def operations_of(network: SearchNetwork) -> dict[str, list[list[int]]]:
    """Return the columns of the candidates that are worth something.

    ``none`` gives zeros, so that nothing changes without.

    Returns:
        For ``"normal"`` and ``"reduce"`` a list an edge.

    Example:
        >>> network = SearchNetwork(4, layers=3, steps=1, candidates=("none", "sep_conv_3x3"))
        >>> operations_of(network)
        {'normal': [[4], [4]], 'reduce': [[4], [4]]}
    """
    edges = len(network.alphas_normal)
    return {cell: choices(network.candidates, cell, edges) for cell in OperationWeights._fields}


class Removal(NamedTuple):
    """An operation that is taken out of all cells of a kind.

    Args:
        cell: ``"normal"`` or ``"reduce"``.
        edge: The row of the weights.
        operation: The column of the weights; None for all of the edge's.
    """

    cell: str
    edge: int
    operation: int | None = None

    def of(self, weights: OperationWeights) -> OperationWeights:
        """Return the weights with 0 for what is taken out; the others stay what they are."""
        changed = getattr(weights, self.cell).detach().clone()
        changed[self.edge, slice(None) if self.operation is None else self.operation] = 0
        return weights._replace(**{self.cell: changed})


def operation_strengths(network: SearchNetwork, batches: Batches) -> OperationWeights:
    """Return the strength of every operation to first order: ``S_o = -w_o dL / dw_o``.

    That is what the loss L rises by, to first order, when the weight w_o falls to 0 in all cells of
    a kind. L is the mean over the images, in training mode as :func:`measure` has it; each batch
    takes one pass forward and backward. After OStr-DARTS (arXiv 2409.14433), the normalisation is
    ours.

    Args:
        network: The supernet, which is left as it was.
        batches: Images (N, C, H, W) and labels (N,), as a rule those that train the alphas.

    Returns:
        The strengths of normal and reduction cells, float64 and in the shape of the alphas,
        for :func:`adarts_ext.genotype.derive_from_scores`. That of ``none`` is 0.

    Raises:
        ValueError: If there is no batch.

    Example:
        >>> from adarts_ext.genotype import derive_from_scores
        >>> network = SearchNetwork(init_channels=4, layers=3)
        >>> batch = torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 3])
        >>> len(derive_from_scores(*operation_strengths(network, [batch])).normal)
        8
    """
    weights = OperationWeights(
        *(one.detach().requires_grad_() for one in network.operation_weights())
    )
    strengths = [torch.zeros_like(one, dtype=torch.float64) for one in weights]
    trained = [one for one in (*network.parameters(), *network.arch_parameters())]
    count = 0
    with as_in_training(network), without_gradient(one for one in trained if one.requires_grad):
        for images, labels in batches:
            loss = cross_entropy(network(images, weights), labels)
            gradients = torch.autograd.grad(loss, weights)
            for total, weight, gradient in zip(strengths, weights, gradients, strict=True):
                total -= len(labels) * (weight.detach().double() * gradient.double())
            count += len(labels)
    if not count:
        raise ValueError("operation_strengths: expected at least one batch, got none")
    return OperationWeights(*(total / count for total in strengths))


def exact_strengths(network: SearchNetwork, batches: Batches) -> OperationWeights:
    """Return the strength of every operation: ``S_o = L(w_o = 0) - L(w)``.

    As :func:`operation_strengths`, but measured: each batch takes a forward pass for each
    candidate but ``none``, 197 for two cells of 14 edges.

    Args:
        network: The supernet, which is left as it was.
        batches: As there, but iterated again for each operation, always with the same images.

    Example:
        >>> network = SearchNetwork(init_channels=4, layers=3, steps=1)
        >>> batch = torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 3])
        >>> exact_strengths(network, [batch]).normal.shape
        torch.Size([2, 8])
    """
    return strengths_of_losses(network, list(removal_losses(network, batches)))


def removals(network: SearchNetwork) -> list[Removal]:
    """Return all that can be taken out of a network, operation by operation."""
    return [
        Removal(cell, edge, operation)
        for cell, edges in operations_of(network).items()
        for edge, operations in enumerate(edges)
        for operation in operations
    ]


def removal_losses(network: SearchNetwork, batches: Batches, done: int = 0) -> Iterator[float]:
    """Measure the loss of a network, and without each of :func:`removals` in turn.

    Args:
        network: The supernet.
        batches: As those of :func:`exact_strengths`.
        done: How many of the losses are known, and left out.
    """
    weights = network.operation_weights()
    changed = [weights, *(removal.of(weights) for removal in removals(network))]
    for one in changed[done:]:
        yield measure(network, batches, one).loss


def strengths_of_losses(network: SearchNetwork, losses: Sequence[float]) -> OperationWeights:
    """Return the strengths that all losses of :func:`removal_losses` come to."""
    strengths = OperationWeights(
        *(
            torch.zeros(one.shape, dtype=torch.float64, device=one.device)
            for one in network.operation_weights()
        )
    )
    whole, *without = losses
    for removal, loss in zip(removals(network), without, strict=True):
        getattr(strengths, removal.cell)[removal.edge, removal.operation] = loss - whole
    return strengths
