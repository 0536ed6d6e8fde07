"""torch.compile on request, given up where it fails."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def compile_network(network: nn.Module) -> None:
    """Let torch.compile compile a network's forward pass when it is first called.

    Where that fails the network stays as it is, and a warning says why. What is compiled rounds
    otherwise than what is not.
    """
    network.forward = _Compiled(network.forward)


class _Compiled:
    def __init__(self, forward: Callable[[Tensor], Any]) -> None:
        self.plain = forward
        self.forward = torch.compile(forward)

    def __call__(self, images: Tensor) -> Any:
        from torch._dynamo.exc import TorchDynamoException  # torch.compile has imported it

        try:
            return self.forward(images)
        except TorchDynamoException as error:
            reason = " ".join(str(error).strip().splitlines()[:2])  # where, and what
            warnings.warn(f"compile: goes on without, as it failed: {reason}", stacklevel=2)
            self.forward = self.plain
            return self.forward(images)
