"""A search cell: nodes that sum the mixed operations of all their incoming edges."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from adarts_ext.genotype import PRIMITIVES, incoming_edges
from adarts_ext.nn.backend import BACKENDS
from adarts_ext.nn.checks import check_at_least, check_choice, check_feature_map
from adarts_ext.nn.mixed_op import PartialMixedOp
from adarts_ext.nn.operations import FactorizedReduce, ReLUConvBN
from adarts_ext.nn.recompute import MEMORY_MODES, recompute


class SearchCell(nn.Module):
    """A cell whose every node takes all earlier states, each through a mixed operation.

    ``node_j = sum_i beta_ij * mixed_op_ij(state_i)`` over the cell's two inputs and the nodes
    before j; the output is the concatenation of the nodes (DARTS, arXiv 1806.09055, section 2.1;
    the betas are PC-DARTS's edge normalization, arXiv 1907.05737, section 3.3). Edges are numbered
    node by node, see :func:`adarts_ext.genotype.incoming_edges`.

    Args:
        previous_previous_channels: Channels of the first input, the output of the cell before last.
        previous_channels: Channels of the second input, the output of the last cell.
        channels: Channels of a node.
        reduction: Whether the edges from the two inputs halve height and width.
        reduction_previous: Whether the last cell was a reduction cell, so that the first input is
            twice as high and wide as the second.
        steps: Number of nodes.
        proportion: K of :class:`PartialMixedOp`.
        selection: Of :class:`PartialMixedOp`.
        backend: Of :class:`PartialMixedOp`.
        memory: ``"store"`` keeps every intermediate tensor for backward; ``"recompute"`` keeps the
            states only and computes the rest again, one node after another.

    Shape:
        s0 (N, previous_previous_channels, H, W), or (..., 2H, 2W) after a reduction cell; s1
        (N, previous_channels, H, W); alphas (edges, 8) and betas (edges,), softmax already taken,
        or betas None for edges of weight 1. Output (N, steps * channels, H, W), or half that height
        and width from a reduction cell.

    Raises:
        ValueError: If an argument is out of range or an input has another shape.

    Example:
        >>> cell = SearchCell(12, 12, 4, reduction=False, reduction_previous=False, steps=2)
        >>> x = torch.randn(2, 12, 8, 8)
        >>> cell(x, x, torch.full((5, 8), 1 / 8)).shape
        torch.Size([2, 8, 8, 8])
    """

    def __init__(
        self,
        previous_previous_channels: int,
        previous_channels: int,
        channels: int,
        reduction: bool,
        reduction_previous: bool,
        steps: int = 4,
        proportion: int = 4,
        selection: str = "attention",
        backend: str = "fused",
        memory: str = "store",
    ) -> None:
        super().__init__()
        check_choice("SearchCell", "memory", memory, MEMORY_MODES)
        check_at_least(
            "SearchCell",
            1,
            previous_previous_channels=previous_previous_channels,
            previous_channels=previous_channels,
            channels=channels,
            steps=steps,
        )
        self.previous_previous_channels = previous_previous_channels
        self.previous_channels = previous_channels
        self.out_channels = steps * channels
        self.reduction = reduction
        self.steps = steps
        self.selection = selection
        self.backend = backend
        self.memory = memory
        if reduction_previous:
            self.preprocess0 = FactorizedReduce(previous_previous_channels, channels, affine=False)
        else:
            self.preprocess0 = ReLUConvBN(previous_previous_channels, channels, affine=False)
        self.preprocess1 = ReLUConvBN(previous_channels, channels, affine=False)
        self._ops = nn.ModuleList(
            PartialMixedOp(
                channels, 2 if reduction and i < 2 else 1, proportion, selection, backend
            )
            for node in range(steps)
            for i in range(2 + node)
        )

    def forward(
        self, s0: Tensor, s1: Tensor, alphas: Tensor, betas: Tensor | None = None
    ) -> Tensor:
        self._check(s0, s1, alphas, betas)
        states = [
            self._call(self.preprocess0, [self.preprocess0], s0),
            self._call(self.preprocess1, [self.preprocess1], s1),
        ]
        if states[0].shape != states[1].shape:
            raise ValueError(
                f"SearchCell: the inputs {tuple(s0.shape)} and {tuple(s1.shape)} do not fit, "
                f"they become {tuple(states[0].shape)} and {tuple(states[1].shape)}"
            )
        mixed_ops = list(self._ops)
        for edges in incoming_edges(self.steps):
            node = functools.partial(self._node, mixed_ops[edges])
            node_betas = None if betas is None else betas[edges]
            states.append(self._call(node, mixed_ops[edges], alphas[edges], node_betas, *states))
        return torch.cat(states[2:], dim=1)

    def _node(
        self,
        mixed_ops: Sequence[PartialMixedOp],
        alphas: Tensor,
        betas: Tensor | None,
        *states: Tensor,
    ) -> Tensor:
        outputs = [
            mixed_op(state, weights)
            for mixed_op, state, weights in zip(mixed_ops, states, alphas.unbind(), strict=True)
        ]
        if betas is None:
            return functools.reduce(operator.add, outputs)
        return BACKENDS[self.backend].mixed_sum(outputs, betas)

    def _call(
        self, function: Callable[..., Tensor], modules: Sequence[nn.Module], *inputs: Tensor | None
    ) -> Tensor:
        if self.memory == "store":
            return function(*inputs)
        return recompute(function, modules, *inputs, random=self.selection == "random")

    def _check(self, s0: Tensor, s1: Tensor, alphas: Tensor, betas: Tensor | None) -> None:
        check_feature_map("SearchCell: first input", s0, self.previous_previous_channels)
        check_feature_map("SearchCell: second input", s1, self.previous_channels)
        edges = len(self._ops)
        if alphas.shape != (edges, len(PRIMITIVES)):
            raise ValueError(
                f"SearchCell: expected alphas ({edges}, {len(PRIMITIVES)}), "
                f"got shape {tuple(alphas.shape)}"
            )
        if betas is not None and betas.shape != (edges,):
            raise ValueError(f"SearchCell: expected betas ({edges},), got {tuple(betas.shape)}")

    def extra_repr(self) -> str:
        return (
            f"out_channels={self.out_channels}, reduction={self.reduction}, steps={self.steps}, "
            f"memory={self.memory}"
        )
