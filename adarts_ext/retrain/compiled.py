"""torch.compile on request, cell by cell, given up where it fails."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from adarts_ext.nn import DerivedNetwork


def compile_cells(network: DerivedNetwork) -> None:
    """Let torch.compile compile the cells of a network for the passes that train it.

    A cell is compiled when it is first called, and serves all that are alike: of 20 cells nine are,
    once without drop path and once with it. An evaluation, a small part of an epoch, runs as it is.
    Where compiling fails a cell stays as it is, and a warning says why. What is compiled rounds
    otherwise than what is not.
    """
    # All cells are one function to torch.compile, which gives up at its ninth kind of arguments.
    kinds = 2 * len(network.cells)
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, kinds)
    for cell in network.cells:
        cell.forward = _Compiled(cell)


class _Compiled:
    def __init__(self, cell: nn.Module) -> None:
        self.cell = cell
        self.plain = cell.forward
        self.forward = torch.compile(self.plain)

    def __call__(self, s0: Tensor, s1: Tensor, drop_path_prob: float) -> Tensor:
        from torch._dynamo.exc import TorchDynamoException  # torch.compile has imported it

        if not self.cell.training:
            return self.plain(s0, s1, drop_path_prob)
        for state in (s0, s1):  # code for one size, not for all: the cells have a few
            torch._dynamo.mark_static(state)
        try:
            return self.forward(s0, s1, drop_path_prob)
        except TorchDynamoException as error:
            reason = " ".join(str(error).strip().splitlines()[:2])  # where, and what
            warnings.warn(f"compile: goes on without, as it failed: {reason}", stacklevel=2)
            self.forward = self.plain
            return self.plain(s0, s1, drop_path_prob)
