"""The classes of ADARTS's released search code, on the fused kernels.

Import them in place of its own: ``from adarts_ext.compat.adarts import Cell``.
"""

from __future__ import annotations

from adarts_ext.compat import released

__all__ = ["Cell", "MixedOp", "Network"]


class MixedOp(released.MixedOp):
    """The mixed operation of ADARTS: ``MixedOp(C, stride)``, called with x and the weights.

    See :class:`adarts_ext.nn.PartialMixedOp` with ``selection="attention"``.

    Example:
        >>> import torch
        >>> MixedOp(8, 1)(torch.randn(2, 8, 4, 4), torch.full((8,), 1 / 8)).shape
        torch.Size([2, 8, 4, 4])
    """

    SELECTION = "attention"


class Cell(released.Cell):
    """The search cell of ADARTS, called with two inputs, alphas and betas, after their softmax.

    ``Cell(steps, multiplier, C_prev_prev, C_prev, C, reduction, reduction_prev)``; see
    :class:`adarts_ext.nn.SearchCell`.

    Example:
        >>> import torch
        >>> cell = Cell(4, 4, 8, 8, 8, reduction=False, reduction_prev=False)
        >>> x = torch.randn(2, 8, 4, 4)
        >>> cell(x, x, torch.full((14, 8), 1 / 8), torch.full((14,), 1 / 3)).shape
        torch.Size([2, 32, 4, 4])
    """

    SELECTION = "attention"


class Network(released.Network):
    """The supernet of ADARTS: ``Network(C, num_classes, layers, criterion)``.

    See :class:`adarts_ext.nn.SearchNetwork`; ``_loss`` and ``new`` are what its second-order search
    calls.

    Example:
        >>> import torch
        >>> network = Network(8, 10, 3, torch.nn.functional.cross_entropy)
        >>> network.new()(torch.randn(2, 3, 16, 16)).shape
        torch.Size([2, 10])
    """

    SELECTION = "attention"
