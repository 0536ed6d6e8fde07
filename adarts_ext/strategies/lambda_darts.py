"""Lambda-DARTS: the normal cells are to agree on which candidates they need."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from adarts_ext.central_difference import central_difference
from adarts_ext.leaves import put_back
from adarts_ext.nn import OperationWeights, SearchNetwork
from adarts_ext.nn.processes import averaged
from adarts_ext.strategies.strategy import Strategy


class LambdaDarts(Strategy):
    """The regularisation of layer alignment (Lambda-DARTS, arXiv 2210.07998).

    The layers are trained by ``L_train - lambda * A``, where A is the mean cosine of two normal
    cells' gradients g = dL_train / dw in the weights of their candidates, over all pairs. Its
    gradient is that of L_train, differentiated along ``d = dA / dg`` in w: the central difference
    at a distance of 0.0001, in the norm over all cells. lambda grows along a line from 0 in the
    first epoch to 0.125 in the last. It takes about three times the work of a step.

    The passes that are compared leave the BatchNorms' running statistics as they are; in the
    authors' code they count.
    """

    compares_passes = True
    needs_softmax = True
    largest = 0.125  # lambda
    distance = 1e-4

    def __init__(self) -> None:
        super().__init__()
        self.register_number("factor", 0.0)

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Set lambda."""
        self.factor.fill_(self.largest * (epoch - 1) / max(epochs - 1, 1))

    def after_backward(
        self, network: SearchNetwork, batch: tuple[Tensor, Tensor], parameters: Sequence[Tensor]
    ) -> None:
        """Take lambda times the gradient of A from that of the weights."""
        images, labels = batch
        normal, reduce = network.operation_weights().detach()
        cells = sum(not cell.reduction for cell in network.cells)
        each = normal.repeat(cells, 1, 1).requires_grad_()

        def gradient(of: Sequence[Tensor]) -> list[Tensor]:
            logits = network(images, OperationWeights(each, reduce))
            return list(torch.autograd.grad(cross_entropy(logits, labels), of))

        with put_back(network.buffers()):
            (slopes,) = averaged(gradient([each]))
            change = central_difference(
                lambda: gradient(parameters), [each], [ascent(slopes)], self.distance
            )
        for parameter, part in zip(parameters, change, strict=True):
            parameter.grad -= self.factor.to(part.dtype) * part


def ascent(slopes: Tensor) -> Tensor:
    """Return the gradient, in some vectors, of the mean cosine over all pairs of them.

    With ``u = g / ||g||`` it is ``(I - u u^T) sum(u) / ||g||`` over the number of pairs.

    Args:
        slopes: The vectors g, (vectors, ...).

    Example:
        >>> ascent(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
        tensor([[0.0000, 0.5000],
                [1.0000, 0.0000]])
    """
    flat = slopes.flatten(1)
    unit, count = normalize(flat, dim=1), len(flat)
    total = unit.sum(0)
    across = total - (unit @ total).unsqueeze(1) * unit
    tiny = torch.finfo(flat.dtype).tiny
    lengths = flat.norm(dim=1, keepdim=True).clamp_min(tiny) * max(count * (count - 1) / 2, 1)
    return (across / lengths).view_as(slopes)
