"""Running a search cell, or a single edge, on the fused operators, and when those do not serve.

What a cell's modules are called and where they stand is a matter of :mod:`adarts_ext.nn` and
:mod:`adarts_ext.compat`; how the operators take them is said here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from adarts_ext import _library
from adarts_ext.genotype import PRIMITIVES
from adarts_ext.nn.batch_norms import Norms, Updates, given_statistics
from adarts_ext.nn.image_blocks import ImageBlocks, compute_dtype
from adarts_ext.nn.selection import SELECTIONS
from adarts_ext.ops.common import CELL_DTYPES
from adarts_ext.ops.preprocess_cell import preprocess_inputs
from adarts_ext.ops.processes import ALONE, SharedBatch
from adarts_ext.ops.search_cell import CellLayout, search_cell
from adarts_ext.reference.cell_layout import STATISTICS

#: Channels of an edge that the fused kernels serve; more run faster through ordinary convolutions.
MOST_SELECTED = 64
#: Channels of a node that the fused kernels serve on every device.
MOST_CHANNELS = 256

#: The candidates in the order in which the fused kernels take their weights.
KERNEL_ORDER = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "skip_connect",
)


def reason_against_input(x: Tensor | ImageBlocks) -> str | None:
    """Return why the fused kernels cannot take this input, or None."""
    if isinstance(x, ImageBlocks):
        return None
    if not _library.has_kernels(x):
        return f"no kernels for {x.device.type}"
    if compute_dtype(x) not in CELL_DTYPES:
        return f"{x.dtype} is not float32, float64 or bfloat16"
    if x.numel() == 0:
        return "the input is empty"
    return None


def reason_against_candidates(names: Iterable[str]) -> str | None:
    """Return why the fused kernels do not compute these candidates, or None."""
    own = next((name for name in names if name not in PRIMITIVES), None)
    return None if own is None else f"no kernels for candidate {own}"


def reason_against_kind(backend: str, selected_channels: int, channels: int) -> str | None:
    """Return why the fused kernels do not compute mixed operations of this kind, or None."""
    if backend != "fused":
        return f"backend is {backend}"
    if selected_channels > MOST_SELECTED:
        return f"{selected_channels} selected channels are over {MOST_SELECTED}"
    if channels > MOST_CHANNELS:
        return f"{channels} channels are over {MOST_CHANNELS}"
    return None


def kernels(reason: str | None) -> str:
    """Return the name of the kernels that run, given the reason against the fused ones."""
    return f"operator by operator ({reason})" if reason else "fused cell"


class Layers(NamedTuple):
    """The layers below a module that the fused kernels stand for, in their order."""

    convolutions: list[nn.Conv1d | nn.Conv2d]
    norms: Norms

    @classmethod
    def below(cls, parts: Iterable[nn.Module]) -> Layers:
        """Find the convolutions and BatchNorms in some modules."""
        layers = [layer for part in parts for layer in part.modules()]
        return cls(
            [layer for layer in layers if isinstance(layer, nn.Conv1d | nn.Conv2d)],
            Norms(layer for layer in layers if isinstance(layer, nn.BatchNorm2d)),
        )

    @classmethod
    def join(cls, several: Iterable[Layers]) -> Layers:
        """Put the layers of several modules one after another."""
        convolutions, norms = zip(*several, strict=True)
        return cls([*itertools.chain(*convolutions)], Norms(itertools.chain(*norms)))


class EdgeLayers:
    """The layers of a mixed operation, candidate by candidate.

    Args:
        operations: The candidates by their names.
        attention: The channel attention, if there is one.
    """

    def __init__(self, operations: Mapping[str, nn.Module], attention: nn.Module | None) -> None:
        self.attention = Layers.below([] if attention is None else [attention])
        self.candidates = [
            (1 << PRIMITIVES.index(name), Layers.below([operations[name]]))
            for name in KERNEL_ORDER
            if name in operations
        ]

    def active(self, mask: int) -> Layers:
        """Return those of the active candidates, bit o of the mask that of PRIMITIVES[o]."""
        found = [layers for bit, layers in self.candidates if mask & bit]
        return Layers.join([self.attention, *found])


class EdgeKind(NamedTuple):
    """What all mixed operations of a cell have in common.

    ``channels`` is C, ``selected`` c, ``selection`` as in :class:`adarts_ext.nn.PartialMixedOp`,
    and ``stride`` that of the edges from the cell's inputs.
    """

    channels: int
    selected: int
    selection: str
    stride: int

    def draw_index(self, edges: int, device: torch.device) -> Tensor | None:
        """Choose the channels of each edge, (edges, c), where no scores choose them."""
        return SELECTIONS[self.selection].draw_index(edges, self.channels, self.selected, device)


def complete_edges(steps: int, inputs: int = 2) -> list[tuple[int, int]]:
    """List the edges of a cell whose every node takes all earlier states, as (state, node).

    Example:
        >>> complete_edges(2)
        [(0, 0), (1, 0), (0, 1), (1, 1), (2, 1)]
    """
    return [(state, node) for node in range(steps) for state in range(inputs + node)]


def preprocessed_shape(layers: Layers, x: ImageBlocks) -> tuple[int, ...]:
    """Return the shape, as a feature map, of what a preprocessing makes of an input."""
    batch, _, height, width = x.feature_shape
    stride = len(layers.convolutions)  # FactorizedReduce has two of them
    return batch, layers.norms[0].num_features, height // stride, width // stride


def preprocess(
    inputs: Sequence[Layers],
    xs: Sequence[ImageBlocks],
    updates: Updates,
    shared: SharedBatch = ALONE,
) -> list[ImageBlocks]:
    """Run the preprocessings of a cell's inputs, as its layers say, at once.

    What their BatchNorms have seen is appended to ``updates``.
    """
    weights = []
    for layers in inputs:
        some = [convolution.weight.flatten(1) for convolution in layers.convolutions]
        weights.append(torch.cat(some) if len(some) > 1 else some[0])
    strides = [len(layers.convolutions) for layers in inputs]
    norms = [layers.norms for layers in inputs]
    (norm,), batch = norms[0], xs[0].batch
    given = None if norm.training else [given_statistics(some)[0] for some in norms]
    blocks = [x.blocks for x in xs]
    h, statistics = preprocess_inputs(blocks, weights, batch, strides, given, norm.eps, shared)
    if norm.training:
        updates.extend(zip(norms, statistics.split(1), strict=True))
    return [ImageBlocks(one, batch) for one in h]


def mix(
    kind: EdgeKind,
    layers: Layers,
    states: Sequence[ImageBlocks],
    edges: Sequence[tuple[int, int]],
    alphas: Tensor,
    betas: Tensor | None,
    store: bool,
    updates: Updates,
    flat: Tensor | None = None,
    shared: SharedBatch = ALONE,
    active: tuple[int, ...] = (),
    dropout: Tensor | None = None,
) -> ImageBlocks:
    """Run the nodes of a cell; what the BatchNorms have seen is appended to ``updates``.

    Args:
        kind: What its mixed operations are.
        layers: Those of all edges, one after another, of their active candidates.
        states: The inputs.
        edges: (state, node) of every edge, by the node that it enters.
        alphas: (edges, 8) in the order of PRIMITIVES, softmax already taken.
        betas: (edges,), softmax already taken, or None for edges of weight 1.
        store: Whether to keep the convolutions' outputs for backward or to compute them again.
        updates: Where to leave the batch's statistics.
        flat: The weights of all convolutions end to end, where they lie so.
        shared: What the processes that have a part each of the batch do together.
        active: The active candidates of every edge, as :class:`CellLayout` has them.
        dropout: Of the skip connections at stride 1, as the operator takes it; None for none.
    """
    sources, targets = zip(*edges, strict=True)
    batch, nodes = states[0].batch, targets[-1] + 1
    selection, hidden, taps = SELECTIONS[kind.selection], 0, 0
    if selection.attention:
        attention = layers.convolutions[0]
        if isinstance(attention, nn.Conv1d):
            (taps,) = attention.kernel_size
        else:
            hidden = attention.out_channels
    layout = CellLayout(
        batch,
        kind.stride,
        kind.selected,
        hidden,
        nodes,
        sources,
        targets,
        selection.shuffle,
        active,
        taps,
    )
    norms, first = layers.norms, states[0].blocks
    if norms:
        given, eps = given_statistics(norms), norms[0].eps
    else:  # skip connections only
        given, eps = first.new_empty((0, STATISTICS, kind.selected)), 0.0
    out = search_cell(
        [state.blocks for state in states],
        [convolution.weight for convolution in layers.convolutions] if flat is None else [flat],
        alphas,
        betas,
        layout,
        kind.draw_index(len(edges), first.device),
        given,
        store,
        eps,
        shared,
        dropout,
    )
    if norms and norms[0].training:
        updates.append((norms, out.norms))
    return ImageBlocks(out.nodes, batch)
