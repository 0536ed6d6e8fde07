"""Search cells of other code, computed by the fused kernels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from adarts_ext.compat.block_cache import remember, remembered_blocks
from adarts_ext.compat.fused_mixed_op import FusedMixedOp, reason_against_shape
from adarts_ext.compat.structure import CellStructure, preprocess_stride
from adarts_ext.compat.swap import Computed, reason_against_weights
from adarts_ext.compat.watch import Watch, is_replica
from adarts_ext.nn import fused
from adarts_ext.nn.batch_norms import Updates, reason_against_norms, update_running_statistics
from adarts_ext.nn.candidates import nonzero_masks
from adarts_ext.nn.unchanged import constant_when_compiled

Alphas = Tensor | Sequence[Tensor]


class FusedCell(Computed):
    """How a search cell is computed by the fused kernels.

    Args:
        cell: The cell.
        parts: Where it has its parts.
        edges: How each of its mixed operations is computed.
        arguments: 3 for the two inputs and alphas, 4 with betas.
        by_node: Whether alphas come as a list of one tensor for each node.
        memory: ``"store"`` or ``"recompute"``.
    """

    level = "cell"
    reason = ""

    def __init__(
        self,
        cell: nn.Module,
        parts: CellStructure,
        edges: Sequence[FusedMixedOp],
        arguments: int,
        by_node: bool,
        memory: str,
    ) -> None:
        self.parts = parts
        self.by_node = by_node
        self.edges = list(edges)
        self.multiplier = parts.steps  # so many of the last nodes are its output
        self.calls = 1  # of each mixed operation in one pass
        self.arguments = arguments
        self.store = memory == "store"
        self.strides = [preprocess_stride(cell._modules[name]) for name in parts.preprocess]
        self.layers: list[fused.Layers] | None = None  # until attached
        convolutions = [
            next(layer for layer in cell._modules[name].modules() if isinstance(layer, nn.Conv2d))
            for name in parts.preprocess
        ]
        self.inputs = [convolution.weight.size(1) for convolution in convolutions]

    def settings(self) -> tuple[object, ...]:
        """Return what the plan does beyond what the structure of its module says."""
        return (self.store,)

    def attach(self, cell: nn.Module) -> None:
        """Remember the layers of the cell that is computed."""
        self.watch = Watch(cell)
        self.layers = self.find(cell)

    def find(self, cell: nn.Module) -> list[fused.Layers]:
        """Return the layers of both preprocessings, and of all edges in the kernels' order."""
        first, second = (
            fused.Layers.below([cell._modules[name]]) for name in self.parts.preprocess
        )
        mixed_ops = self.parts.mixed_ops(cell)
        edges = [edge.find(mixed_op) for edge, mixed_op in zip(self.edges, mixed_ops, strict=True)]
        return [first, second, fused.Layers.join(edges)]

    def layers_of(self, cell: nn.Module) -> list[fused.Layers]:
        """Return the layers, as they were found before where possible."""
        if self.layers is None or is_replica(cell):
            return self.find(cell)
        return self.layers

    def reason_not_fused(
        self, cell: nn.Module, s0: Tensor, s1: Tensor, alphas: Alphas, betas: Tensor | None = None
    ) -> str | None:
        """Return why these inputs have to go through the original code, or None."""
        count, candidates = len(self.edges), len(self.edges[0].parts.candidates)
        if self.by_node:
            shapes = self.parts.alphas_by_node(candidates)
            if _shapes(alphas) != shapes:
                return f"the alphas are no list of tensors {', '.join(map(str, shapes))}"
            alphas = torch.cat(list(alphas))
        elif not isinstance(alphas, Tensor) or alphas.shape != (count, candidates):
            return f"the alphas are no tensor {(count, candidates)}"
        if self.arguments == 4 and (not isinstance(betas, Tensor) or betas.shape != (count,)):
            return f"the betas are no tensor ({count},)"
        stride = self.edges[0].parts.stride
        for x, channels, halved in zip((s0, s1), self.inputs, self.strides, strict=True):
            reason = reason_against_shape(x, channels, stride * halved)
            reason = reason or fused.reason_against_input(x)
            if reason:
                return reason
        sizes = [
            tuple(size // halved for size in x.shape[2:])
            for x, halved in zip((s0, s1), self.strides, strict=True)
        ]
        if sizes[0] != sizes[1] or s0.size(0) != s1.size(0) or s0.dtype != s1.dtype:
            return "the inputs do not fit each other"
        return self.changed(cell) or reason_against_weights(self, alphas, betas)

    @constant_when_compiled
    def changed(self, cell: nn.Module) -> str | None:
        """Return why the cell is no longer what was accelerated, or None."""
        norms = [norm for layers in self.layers_of(cell) for norm in layers.norms]
        return self.watch.change(cell) or reason_against_norms(norms)

    def __call__(
        self, cell: nn.Module, s0: Tensor, s1: Tensor, alphas: Alphas, betas: Tensor | None = None
    ) -> Tensor:
        """Compute the cell."""
        if self.by_node:
            alphas = torch.cat(list(alphas))
        *inputs, candidates = self.layers_of(cell)
        updates: Updates = []
        states = fused.preprocess(inputs, [remembered_blocks(s0), remembered_blocks(s1)], updates)
        steps, edge = self.parts.steps, self.edges[0]
        every = tuple(edge.mask for edge in self.edges)
        edges, arranged, active = fused.complete_edges(steps), self.arrange(alphas), every
        if self.skips and not alphas.all():
            active = nonzero_masks(arranged)
            each = zip(self.edges, self.parts.mixed_ops(cell), active, strict=True)
            candidates = fused.Layers.join(
                edge.by_candidate(mixed_op).active(mask) for edge, mixed_op, mask in each
            )
        rest = arranged, betas, self.store, updates
        nodes = fused.mix(edge.kind, candidates, states, edges, *rest, active=active)
        update_running_statistics(updates)
        for _ in range(1, self.calls):
            update_running_statistics(updates[2:])
        if self.multiplier < steps:
            channels = nodes.blocks.size(1) // steps * self.multiplier
            nodes = nodes._replace(blocks=nodes.blocks[:, -channels:].contiguous())
        return remember(nodes)

    def arrange(self, alphas: Tensor) -> Tensor:
        """Bring the candidates' weights of every edge into the order of PRIMITIVES."""
        if len({edge.parts.primitives for edge in self.edges}) == 1:
            return self.edges[0].arrange(alphas)
        rows = zip(self.edges, alphas.unbind(), strict=True)
        return torch.stack([edge.arrange(row) for edge, row in rows])


def _shapes(tensors: object) -> list[tuple[int, ...]] | None:
    if not isinstance(tensors, (list, tuple)):
        return None
    return [tuple(x.shape) if isinstance(x, Tensor) else () for x in tensors]


def agree(edges: Sequence[FusedMixedOp]) -> bool:
    """Return whether the mixed operations of a cell agree in all but their strides."""
    first = edges[0].parts
    return all(
        edge.channels == edges[0].channels
        and len(edge.parts.primitives) == len(first.primitives)
        and edge.parts.selected == first.selected
        and bool(edge.parts.attention) == bool(first.attention)
        for edge in edges
    )


def right_strides(edges: Sequence[FusedMixedOp], steps: int) -> bool:
    """Return whether the edges from the two inputs share a stride and all others have stride 1."""
    first = edges[0].parts.stride
    return all(
        edge.parts.stride == (first if state < 2 else 1)
        for (state, _), edge in zip(fused.complete_edges(steps), edges, strict=True)
    )


def output_nodes(y: object, channels: int, steps: int) -> int | None:
    """Return how many nodes of so many channels an output consists of, or None."""
    if not isinstance(y, Tensor) or y.dim() != 4 or y.size(1) % channels:
        return None
    nodes = y.size(1) // channels
    return nodes if 1 <= nodes <= steps else None
