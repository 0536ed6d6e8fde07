"""OLES: operations that overfit the training images stop being trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adarts_ext.nn import SearchNetwork
from adarts_ext.nn.processes import averaged
from adarts_ext.strategies.strategy import Strategy


class Oles(Strategy):
    """Operation-level early stopping (OLES, arXiv 2409.05143).

    In every step the cosine of an operation's gradients is taken, that of the training loss and
    that of the validation loss, all its weights in one cell together. After every 20 such steps an
    operation whose mean cosine over them is below 0.4 is frozen: its weights stay what they are to
    the end. Convolutions have weights; the factorized reduction of a skip connection is never
    frozen, as in the authors' code.

    Here both gradients are of the same step; in the authors' code that of the training is of the
    step before, and the cosines, taken along the first axis, are means over the others and over the
    tensors of an operation. Steps in which the alphas are not trained do not count.
    """

    uses_validation_gradients = True
    steps = 20
    threshold = 0.4

    def begin(self, network: SearchNetwork, parameters: Sequence[Tensor]) -> None:
        """Find out which weights are which operation's, and make room for what is counted."""
        owners, count = operations_of(network, parameters)
        self._places = [place for place, owner in enumerate(owners) if (owner < count).any()]
        chosen = [parameters[place] for place in self._places]
        self._sizes, self._trained = [one.numel() for one in chosen], chosen
        device, weights = chosen[0].device, torch.cat([one.detach().flatten() for one in chosen])
        owner = torch.cat([owners[place] for place in self._places]).to(device)
        double = torch.zeros(count + 1, dtype=torch.float64, device=device)  # the last: no one's
        self.register_buffer("owner", owner, persistent=False)
        self.register_buffer("order", owner.argsort(stable=True), persistent=False)
        self.register_buffer("lengths", owner.bincount(minlength=count + 1), persistent=False)
        self.register_buffer("validation_gradient", torch.zeros_like(weights), persistent=False)
        self.register_buffer("fresh", torch.zeros_like(double[0]), persistent=False)
        self.register_buffer("total", double)
        self.register_buffer("counted", torch.zeros_like(double[0]))
        self.register_buffer("frozen", torch.zeros_like(double, dtype=torch.bool))
        self.register_buffer("values", torch.zeros_like(weights))  # those of what is frozen

    def after_architecture_backward(
        self, network: SearchNetwork, parameters: Sequence[Tensor], gradients: Sequence[Tensor]
    ) -> None:
        """Keep the validation loss's gradients for the step of the weights."""
        self.validation_gradient.copy_(_flat(gradients[place] for place in self._places))
        self.fresh.fill_(1)

    def after_backward(
        self, network: SearchNetwork, batch: tuple[Tensor, Tensor], parameters: Sequence[Tensor]
    ) -> None:
        """Count the cosines, freeze, and leave what is frozen without a gradient."""
        (training,) = averaged([_flat(one.grad for one in self._trained)])
        self.total += self.fresh * self._cosines(training, self.validation_gradient)
        self.counted += self.fresh
        self.fresh.zero_()
        due = self.counted == self.steps
        stopped = due & (self.total < self.threshold * self.steps) & ~self.frozen
        stopped[-1:].zero_()
        weights = _flat(one.detach() for one in self._trained)
        self.values.copy_(torch.where(stopped[self.owner], weights, self.values))
        self.frozen |= stopped
        self.total *= ~due
        self.counted *= ~due
        for one, frozen in zip(self._trained, self._frozen_parts(), strict=True):
            one.grad.masked_fill_(frozen.view_as(one), 0)

    @torch.no_grad()
    def after_weight_step(self, network: SearchNetwork) -> None:
        """Undo what momentum and weight decay did to what is frozen."""
        parts = zip(
            self._trained, self._frozen_parts(), self.values.split(self._sizes), strict=True
        )
        for one, frozen, values in parts:
            one.copy_(torch.where(frozen.view_as(one), values.view_as(one), one))

    def _frozen_parts(self) -> Sequence[Tensor]:
        return self.frozen[self.owner].split(self._sizes)

    def _cosines(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the cosine of two gradients for each operation; 0 where one is zero."""
        a, b = a[self.order].double(), b[self.order].double()
        dot, aa, bb = (
            # Unlike index_add it sums in the same order on a GPU too.
            torch.segment_reduce(product, "sum", lengths=self.lengths, unsafe=True)
            for product in (a * b, a * a, b * b)
        )
        return dot / (aa * bb).sqrt().clamp_min(torch.finfo(torch.float64).tiny)


def operations_of(network: SearchNetwork, parameters: Sequence[Tensor]) -> tuple[list[Tensor], int]:
    """Number the operations that have weights, but skip connections, in all cells of a network.

    Args:
        network: The supernet.
        parameters: ``network.parameters()`` or ``network.flat_parameters()``.

    Returns:
        For each of ``parameters`` the numbers of the operations that its elements belong to, one
        axis, and how many there are, which also stands for none.
    """
    numbers: dict[int, int] = {}
    count = 0
    for cell in network.cells:
        for mixed_op in cell._ops:
            for name, operation in zip(mixed_op.columns, mixed_op._ops, strict=True):
                weights = [] if name == "skip_connect" else list(operation.parameters())
                numbers |= dict.fromkeys(map(id, weights), count)
                count += bool(weights)
    flat = {
        id(cell.flat): cell.candidate_weights() for cell in network.cells if cell.flat is not None
    }
    owners = []
    for parameter in parameters:
        parts = flat.get(id(parameter), [parameter])
        owners.append(
            torch.cat([torch.full((p.numel(),), numbers.get(id(p), count)) for p in parts])
        )
    return owners, count


def _flat(tensors) -> Tensor:
    return torch.cat([one.flatten() for one in tensors])
