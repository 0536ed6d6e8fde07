"""The two passes of a function, on arguments that take turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

Arguments = Sequence[object]


class Passes:
    """Calls of the forward pass alone and of the backward pass alone.

    Args:
        function: What makes a tensor from arguments.
        arguments: Sets of them, used in turn, so that on a GPU the last set has left the cache.

    Every floating point tensor among the arguments is to get its gradient. ``backward`` keeps the
    graph, so that it can be made again.
    """

    def __init__(self, function: Callable[..., Tensor], arguments: Sequence[Arguments]) -> None:
        self.function = function
        self.arguments = arguments
        self.needed = [[a for a in some if requires_gradient(a)] for some in arguments]
        self.outputs = [function(*some) for some in arguments]
        self.differentiable = self.outputs[0].requires_grad
        self.gradients = [torch.randn_like(out) for out in self.outputs if self.differentiable]
        self.turn = 0

    def forward(self) -> Tensor:
        """Make a forward pass."""
        return self.function(*self.arguments[self._next()])

    def backward(self) -> tuple[Tensor, ...]:
        """Make a backward pass."""
        turn = self._next()
        return torch.autograd.grad(
            self.outputs[turn], self.needed[turn], self.gradients[turn], retain_graph=True
        )

    def _next(self) -> int:
        self.turn = (self.turn + 1) % len(self.arguments)
        return self.turn


def requires_gradient(argument: object) -> bool:
    """Return whether an argument is a tensor that is to get a gradient."""
    return isinstance(argument, Tensor) and argument.requires_grad


def count_flops(call: Callable[[], object]) -> int:
    """Floating point operations of a call, as torch counts them.

    Example:
        >>> count_flops(lambda: torch.ones(2, 3) @ torch.ones(3, 4))
        48
    """
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()
