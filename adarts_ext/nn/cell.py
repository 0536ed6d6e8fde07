"""A search cell: nodes that sum the mixed operations of all their incoming edges."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from adarts_ext.genotype import PRIMITIVES, incoming_edges
from adarts_ext.genotype.candidates import Candidates, columns_of, on_every_edge
from adarts_ext.genotype.operations import draws
from adarts_ext.nn import fused
from adarts_ext.nn.backend import BACKENDS
from adarts_ext.nn.batch_norms import (
    Updates,
    reason_against_norms,
    update_running_statistics,
)
from adarts_ext.nn.checks import check_at_least, check_choice
from adarts_ext.nn.flat import attach, flatten, is_attached
from adarts_ext.nn.image_blocks import ImageBlocks, feature_map, lay_out
from adarts_ext.nn.mixed_op import MIXED_OP_SETTINGS, PartialMixedOp
from adarts_ext.nn.operations import FactorizedReduce, ReLUConvBN
from adarts_ext.nn.processes import in_group
from adarts_ext.nn.recompute import MEMORY_MODES, recompute
from adarts_ext.nn.selection import SELECTIONS
from adarts_ext.nn.skip_dropout import scaled
from adarts_ext.nn.synchronised import shared_batch
from adarts_ext.nn.unchanged import AsBuilt, constant_when_compiled
from adarts_ext.ops.operator import check_tensor

#: The cell, number of hooks and mode of which all layers were looked at, and what was found.
_Found = tuple[tuple[int, int, bool] | None, str | None]
_NOTHING: _Found = (None, None)


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
        memory: What is kept for backward. In the fused kernels ``"store"`` keeps the states and the
            output of every convolution before its BatchNorm; operator by operator it keeps every
            intermediate tensor but the outputs of the last BatchNorms. ``"recompute"`` keeps the
            states only (in the fused kernels the statistics too) and computes the rest again, one
            node after another.
        candidates: Of :class:`PartialMixedOp`: names that all edges have, or
            :class:`EdgeCandidates` with those of each.
        attention: Of :class:`PartialMixedOp`.

    The whole cell runs in the fused kernels of :func:`adarts_ext.ops.preprocess_cell` and
    :func:`adarts_ext.ops.search_cell`, for float32, float64 and bfloat16, up to 64 selected
    of at most 256 channels, on the CPU and on a GPU; under autocast to bfloat16 the states are
    stored in bfloat16. For anything else it runs operator by operator, with the same results:
    other dtypes, more channels, candidates of one's own, layers below it that were exchanged,
    changed or given hooks (the kernels would not call those), BatchNorms in different modes.
    :meth:`kernels` and the repr say which.

    Shape:
        s0 (N, previous_previous_channels, H, W), or (..., 2H, 2W) after a reduction cell; s1
        (N, previous_channels, H, W); alphas (edges, 8), with candidates of one's own more, and
        betas (edges,), softmax already taken, or betas None for edges of weight 1. Output
        (N, steps * channels, H, W), or half that height and width from a reduction cell. The inputs
        may also be :class:`ImageBlocks`, the layout of the fused kernels; if s1 is, the output of
        those kernels is, and a network lays its images out only once.

    ``active`` leaves candidates out of a pass: a number for each edge, whose bit o says whether
    candidate o, in the order of the alphas, takes part. The others take no time and no memory;
    their BatchNorms' statistics stay as they are, and they get no gradient: None, not 0, but after
    :meth:`flatten`.

    ``dropout``, of :func:`adarts_ext.nn.skip_dropout.draw_dropout`, drops values of the skip
    connections at stride 1; those that are left are divided by their share.

    A network that gives a list ``updates`` finds there what the BatchNorms have seen, and updates
    the running statistics of all cells at once; otherwise the cell does it itself.

    Raises:
        ValueError: If an argument is out of range or an input has another shape.
        TypeError: If an input is no tensor, or the inputs have different dtypes.

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
        candidates: Candidates = PRIMITIVES,
        attention: str = "cbam",
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
        self.columns = columns_of(candidates)
        edges = fused.complete_edges(steps)
        kind = "reduce" if reduction else "normal"
        names = on_every_edge("SearchCell", candidates, kind, len(edges))
        self._ops = nn.ModuleList(
            PartialMixedOp(
                channels,
                2 if reduction and state < 2 else 1,
                proportion,
                selection,
                backend,
                own,
                attention,
                self.columns,
            )
            for (state, _), own in zip(edges, names, strict=True)
        )
        self._built = AsBuilt(self, {PartialMixedOp: MIXED_OP_SETTINGS})
        self._layers0 = fused.Layers.below([self.preprocess0])
        self._layers1 = fused.Layers.below([self.preprocess1])
        self.selected_channels = self._ops[0].selected_channels
        self._candidates = fused.Layers.join(edge.fused_layers for edge in self._ops)
        self._flat: Tensor | None = None  # the weights of the candidates, see flatten
        self._found: _Found | None = None  # what _look found, where that is kept
        self._norms = fused.Layers.join(self._several()).norms
        self._every = tuple(edge.mask for edge in self._ops)

    def forward(
        self,
        s0: Tensor | ImageBlocks,
        s1: Tensor | ImageBlocks,
        alphas: Tensor,
        betas: Tensor | None = None,
        updates: Updates | None = None,
        active: tuple[int, ...] = (),
        dropout: Tensor | None = None,
    ) -> Tensor | ImageBlocks:
        self._check(s0, s1, alphas, betas)
        active = self._masks(active)
        if dropout is not None:
            alphas = scaled(alphas, dropout)
        if (
            fused.reason_against_input(s0)
            or fused.reason_against_input(s1)
            or self._reason_not_fused()
        ):
            if self._flat is not None and self._flat.grad is None:
                attach(self._flat, self.candidate_weights())  # the layers' gradients go there
            maps = feature_map(s0), feature_map(s1)
            return self._forward_by_operator(*maps, alphas, betas, active, dropout)
        seen = [] if updates is None else updates
        laid_out = lay_out(s0), lay_out(s1)
        nodes = self._forward_fused(*laid_out, alphas, betas, seen, active, dropout)
        if updates is None:
            update_running_statistics(seen)
        return nodes if isinstance(s1, ImageBlocks) else feature_map(nodes)

    @contextmanager
    def unchanging(self) -> Iterator[None]:
        """See :meth:`adarts_ext.nn.SearchNetwork.unchanging`."""
        before, self._found = self._found, _NOTHING
        try:
            yield
        finally:
            self._found = before

    @constant_when_compiled
    def _reason_not_fused(self) -> str | None:
        """Return why the fused kernels cannot compute this cell, or None."""
        if self._found is None:
            return self._look()
        # Of all hooks that were ever registered. A replica of DataParallel is another cell.
        state = id(self), RemovableHandle.next_id, self.training
        if self._found[0] != state:
            self._found = state, self._look()
        return self._found[1]

    def _look(self) -> str | None:
        """Look at all layers; return why the fused kernels cannot compute them, or None."""
        for layers in self._several():
            layers.norms.look()
        return (
            fused.reason_against_kind(self.backend, self.selected_channels, self._ops[0].channels)
            or fused.reason_against_candidates(self._names())
            or self._built.change(self)
            or reason_against_norms(self._norms)
        )

    def _forward_fused(
        self,
        s0: ImageBlocks,
        s1: ImageBlocks,
        alphas: Tensor,
        betas: Tensor | None,
        updates: Updates,
        active: tuple[int, ...],
        dropout: Tensor | None,
    ) -> ImageBlocks:
        shared = shared_batch(self._norms[0])
        inputs = self._layers0, self._layers1
        shapes = map(fused.preprocessed_shape, inputs, (s0, s1))
        self._check_states(s0, s1, *shapes)
        states = fused.preprocess(inputs, (s0, s1), updates, shared)
        kind, layers = self._ops[0].edge_kind, self._candidates
        edges, store = fused.complete_edges(self.steps), self.memory == "store"
        flat, convolutions = self._flat, layers.convolutions
        if flat is not None and not is_attached(
            flat, convolutions[0].weight, convolutions[-1].weight
        ):
            raise RuntimeError(
                "SearchCell: the weights were exchanged after flatten(), and would no longer be "
                "trained; load weights in place, or make the network anew"
            )
        if active != self._every:
            if flat is not None and flat.grad is None:
                attach(flat, self.candidate_weights())  # the layers' gradients go there
            each = zip(self._ops, active, strict=True)
            flat, layers = None, fused.Layers.join(op.edge_layers.active(bits) for op, bits in each)
        if len(self.columns) > len(PRIMITIVES):  # no edge of this cell has those of one's own
            alphas = alphas[:, : len(PRIMITIVES)].contiguous()
        rest = alphas, betas, store, updates, flat, shared, active, dropout
        return fused.mix(kind, layers, states, edges, *rest)

    def _masks(self, active: tuple[int, ...]) -> tuple[int, ...]:
        """Return the active candidates of every edge that there are."""
        if not active:
            return self._every
        if len(active) != len(self._every):
            raise ValueError(
                f"SearchCell: active: expected a number for each of {len(self._every)} edges, got "
                f"{len(active)}"
            )
        # `none` costs nothing, and its bit says nothing.
        return tuple((bits | 1) & every for bits, every in zip(active, self._every, strict=True))

    def _names(self) -> list[str]:
        """Return the names of the candidates that an edge has."""
        there = {name for edge in self._ops for name in edge.candidates}
        return [name for name in self.columns if name in there]

    def flatten(self) -> Tensor:
        """Lay the weights of all mixed operations end to end in one leaf tensor, and return it.

        From then on the cell takes them from there, and their gradients arrive there; the weights
        are views of it, and so are their gradients. So do the running statistics lie, in another
        tensor. Copies of the cell are without both.
        """
        if self._flat is None:
            self._flat = flatten(self.candidate_weights())
            self._flatten_statistics()
        return self._flat

    @property
    def flat(self) -> Tensor | None:
        """What :meth:`flatten` gave; None where the weights do not lie end to end."""
        return self._flat

    def _flatten_statistics(self) -> None:
        for layers in self._several():
            layers.norms.flatten()

    def _several(self) -> tuple[fused.Layers, ...]:
        return self._layers0, self._layers1, self._candidates

    def candidate_weights(self) -> list[nn.Parameter]:
        """Return the weights of all mixed operations, in the order of the fused kernels."""
        return [convolution.weight for convolution in self._candidates.convolutions]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> SearchCell:
        super()._apply(fn, recurse)
        self._found = self._found and _NOTHING
        if self._flat is not None:  # it stays the same object, as parameters do
            grad = self._flat.grad
            self._flat.data, self._flat.grad = fn(self._flat.data), None
            self._flat.grad = None if grad is None else fn(grad)
            attach(self._flat, self.candidate_weights())
            self._flatten_statistics()
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_flat": None, "_found": None}

    def _forward_by_operator(
        self,
        s0: Tensor,
        s1: Tensor,
        alphas: Tensor,
        betas: Tensor | None,
        active: tuple[int, ...],
        dropout: Tensor | None,
    ) -> Tensor:
        of_edges = [None] * len(self._ops) if dropout is None else list(dropout.unbind())
        states = [
            self._call(self.preprocess0, [self.preprocess0], s0),
            self._call(self.preprocess1, [self.preprocess1], s1),
        ]
        self._check_states(s0, s1, states[0].shape, states[1].shape)
        mixed_ops = list(self._ops)
        for edges in incoming_edges(self.steps):
            node = functools.partial(self._node, mixed_ops[edges], active[edges], of_edges[edges])
            node_betas = None if betas is None else betas[edges]
            states.append(self._call(node, mixed_ops[edges], alphas[edges], node_betas, *states))
        return torch.cat(states[2:], dim=1)

    def _node(
        self,
        mixed_ops: Sequence[PartialMixedOp],
        active: tuple[int, ...],
        dropout: Sequence[Tensor | None],
        alphas: Tensor,
        betas: Tensor | None,
        *states: Tensor,
    ) -> Tensor:
        edges = zip(mixed_ops, states, alphas.unbind(), active, dropout, strict=True)
        outputs = [mixed_op(state, *weights) for mixed_op, state, *weights in edges]
        if betas is None:
            return functools.reduce(operator.add, outputs)
        return BACKENDS[self.backend].mixed_sum(outputs, betas)

    def _call(
        self, function: Callable[..., Tensor], modules: Sequence[nn.Module], *inputs: Tensor | None
    ) -> Tensor:
        if self.memory == "store":
            return function(*inputs)
        random = SELECTIONS[self.selection].channels == "random" or any(map(draws, self._names()))
        function = in_group(function)
        return recompute(function, modules, *inputs, random=random)

    def _check_states(
        self,
        s0: Tensor | ImageBlocks,
        s1: Tensor | ImageBlocks,
        shape0: Sequence[int],
        shape1: Sequence[int],
    ) -> None:
        if tuple(shape0) != tuple(shape1):
            raise ValueError(
                f"SearchCell: the inputs {_shape(s0)} and {_shape(s1)} do not fit, "
                f"they become {tuple(shape0)} and {tuple(shape1)}"
            )

    def _check(
        self,
        s0: Tensor | ImageBlocks,
        s1: Tensor | ImageBlocks,
        alphas: Tensor,
        betas: Tensor | None,
    ) -> None:
        channels = (self.previous_previous_channels, self.previous_channels)
        for name, x, expected in zip(("first", "second"), (s0, s1), channels, strict=True):
            if not isinstance(x, ImageBlocks):
                check_tensor("SearchCell", f"{name} input", x, "torch.Tensor or ImageBlocks")
            shape = _shape(x)
            if len(shape) != 4 or shape[1] != expected:
                raise ValueError(
                    f"SearchCell: {name} input: expected (N, {expected}, H, W), got shape {shape}"
                )
        check_tensor("SearchCell", "alphas", alphas)
        if betas is not None:
            check_tensor("SearchCell", "betas", betas, "torch.Tensor or None")
        edges = len(self._ops)
        if alphas.shape != (edges, len(self.columns)):
            raise ValueError(
                f"SearchCell: expected alphas ({edges}, {len(self.columns)}), "
                f"got shape {tuple(alphas.shape)}"
            )
        if betas is not None and betas.shape != (edges,):
            raise ValueError(f"SearchCell: expected betas ({edges},), got {tuple(betas.shape)}")

    def extra_repr(self) -> str:
        return (
            f"out_channels={self.out_channels}, reduction={self.reduction}, steps={self.steps}, "
            f"memory={self.memory}, kernels={self.kernels()}"
        )

    @property
    def strides(self) -> list[int]:
        """The strides of the edges."""
        return [edge.stride for edge in self._ops]

    @property
    def is_fused(self) -> bool:
        """Whether this cell runs in the fused kernels, where its inputs have a dtype they serve."""
        return self._reason_not_fused() is None

    def kernels(self) -> str:
        """Return which kernels this cell runs on, where its inputs have a dtype they serve."""
        return fused.kernels(self._reason_not_fused())


def _shape(x: Tensor | ImageBlocks) -> tuple[int, ...]:
    return tuple(x.shape if isinstance(x, Tensor) else x.feature_shape)
