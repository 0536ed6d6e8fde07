"""What the candidate operations of a supernet weigh: one tensor a kind of cell, or one a cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from adarts_ext.ops.operator import check_tensor


class OperationWeights(NamedTuple):
    """The weights of all candidate operations of a :class:`SearchNetwork`.

    Args:
        normal: Those of the normal cells: (edges, 8), the same for all of them, or
            (normal cells, edges, 8), each its own.
        reduce: Likewise those of the reduction cells.

    Example:
        >>> OperationWeights(torch.ones(14, 8), torch.ones(14, 8)).detach().normal.shape
        torch.Size([14, 8])
    """

    normal: Tensor
    reduce: Tensor

    def detach(self) -> OperationWeights:
        """Return the same weights, through which no gradient goes."""
        return OperationWeights(self.normal.detach(), self.reduce.detach())

    def of_cells(self, reductions: Sequence[bool]) -> list[Tensor]:
        """Return (edges, 8) for each cell, given which of them are reduction cells.

        Raises:
            ValueError: If a tensor has neither two dimensions nor three, or not one entry a cell.
        """
        normal = _of_kind("normal", self.normal, len(reductions) - sum(reductions))
        reduce = _of_kind("reduce", self.reduce, sum(reductions))
        kinds = iter(normal), iter(reduce)
        return [next(kinds[reduction]) for reduction in reductions]


def checked(weights: OperationWeights) -> OperationWeights:
    """Return weights that a pass was given; raise TypeError unless they are two tensors."""
    if not isinstance(weights, OperationWeights):
        got = type(weights).__name__
        raise TypeError(f"SearchNetwork: weights: expected OperationWeights or None, got {got}")
    for kind, one in weights._asdict().items():
        check_tensor("SearchNetwork", f"weights.{kind}", one)
    return weights


def softmax_weights(alphas: Tensor) -> Tensor:
    """Return the softmax of each edge's alphas, (edges, 8) (DARTS, arXiv 1806.09055, equation 2).

    Example:
        >>> softmax_weights(torch.zeros(1, 8))[0, 0].item()
        0.125
    """
    return alphas.softmax(dim=-1)


def _of_kind(kind: str, weights: Tensor, cells: int) -> Sequence[Tensor]:
    if weights.dim() == 2:
        return [weights] * cells
    if weights.dim() != 3 or len(weights) != cells:
        raise ValueError(
            f"SearchNetwork: weights.{kind}: expected (edges, 8), or (cells, edges, 8) with the "
            f"{cells} {kind} cells, got shape {tuple(weights.shape)}"
        )
    return torch.unbind(weights)
