"""What the classes in :mod:`~adarts_ext.compat.darts`, ``pc_darts`` and ``adarts`` share.

They have the signatures of the released code and run on the fused kernels; parameters and buffers
have the same names, so state dicts fit.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from adarts_ext.compat.block_cache import remember, remembered_blocks
from adarts_ext.nn import ImageBlocks, PartialMixedOp, SearchCell, SearchNetwork
from adarts_ext.nn.fused import reason_against_input


class MixedOp(PartialMixedOp):
    """``MixedOp(C, stride)`` of the released code; ``proportion`` is the K written into it."""

    SELECTION: str

    def __init__(self, C: int, stride: int, proportion: int = 4) -> None:
        super().__init__(C, stride, proportion, self.SELECTION)


class Cell(SearchCell):
    """``Cell(...)`` of the released code; the last ``multiplier`` nodes are its output."""

    SELECTION: str

    def __init__(
        self,
        steps: int,
        multiplier: int,
        C_prev_prev: int,
        C_prev: int,
        C: int,
        reduction: bool,
        reduction_prev: bool,
        proportion: int = 4,
    ) -> None:
        if not 1 <= multiplier <= steps:
            raise ValueError(f"Cell: expected a multiplier of 1 to {steps} steps, got {multiplier}")
        super().__init__(
            C_prev_prev,
            C_prev,
            C,
            reduction,
            reduction_prev,
            steps,
            proportion,
            self.SELECTION,
        )
        self.multiplier = multiplier

    def forward(
        self, s0: Tensor, s1: Tensor, weights: Tensor, weights2: Tensor | None = None
    ) -> Tensor:
        """Compute the cell from feature maps, alphas and, with edge normalization, betas."""
        if not (reason_against_input(s0) or reason_against_input(s1)):
            s0, s1 = remembered_blocks(s0), remembered_blocks(s1)
        y = super().forward(s0, s1, weights, weights2)
        y = remember(y) if isinstance(y, ImageBlocks) else y
        if self.multiplier == self.steps:
            return y
        return y[:, -self.multiplier * (self.out_channels // self.steps) :]


class Network(SearchNetwork):
    """``Network(C, num_classes, layers, criterion)`` of the released code.

    ``steps`` is free; ``multiplier`` has to be the same and ``stem_multiplier`` 3.
    """

    SELECTION: str
    EDGE_NORMALIZATION = True

    def __init__(
        self,
        C: int,
        num_classes: int,
        layers: int,
        criterion: Callable[[Tensor, Tensor], Tensor],
        steps: int = 4,
        multiplier: int = 4,
        stem_multiplier: int = 3,
        proportion: int = 4,
    ) -> None:
        if multiplier != steps or stem_multiplier != 3:
            raise ValueError(
                f"Network: expected a multiplier of steps ({steps}) and a stem_multiplier of 3, "
                f"got {multiplier} and {stem_multiplier}"
            )
        super().__init__(
            C, num_classes, layers, proportion, self.SELECTION, self.EDGE_NORMALIZATION, steps=steps
        )
        self.init_channels = C
        self.layers = layers
        self._criterion = criterion

    def new(self) -> Network:
        """Make another network with the same alphas and betas, on the same device."""
        made = type(self)(
            self.init_channels,
            self.num_classes,
            self.layers,
            self._criterion,
            self.steps,
            self.steps,
            proportion=self.proportion,
        ).to(self.classifier.weight)
        with torch.no_grad():
            for to, value in zip(made.arch_parameters(), self.arch_parameters(), strict=True):
                to.copy_(value)
        return made

    def _loss(self, input: Tensor, target: Tensor) -> Tensor:
        return self._criterion(self(input), target)
