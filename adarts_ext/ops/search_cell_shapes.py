"""What torch asks about the operators of :mod:`adarts_ext.ops.search_cell`: shapes, arithmetic."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from adarts_ext.ops.common import accumulate_dtype, kernels
from adarts_ext.reference.cell_layout import STATISTICS, CellLayout
from adarts_ext.reference.image_blocks import LANES


@torch.library.register_fake("adarts_ext::search_cell")
def _fake(
    states: list[Tensor],
    weights: Tensor,
    alphas: Tensor,
    betas: Tensor | None,
    index: Tensor | None,
    norms: Tensor | None,
    dropout: Tensor | None,
    batch: int,
    stride: int,
    selected: int,
    hidden: int,
    nodes: int,
    sources: list[int],
    targets: list[int],
    shuffle: bool,
    active: list[int],
    taps: int,
    store: bool,
    eps: float,
    scores_group: str,
    norms_group: str,
    processes: int,
) -> tuple[Tensor, list[Tensor], Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    x, edges, inputs = states[0], len(sources), len(states)
    blocks, channels, height, width = x.shape[:4]
    height, width = height // stride, width // stride
    dtype = accumulate_dtype(x.dtype)
    layout = CellLayout(
        batch, stride, selected, hidden, nodes, sources, targets, shuffle, active, taps
    )
    plane = blocks * selected * height * width * LANES
    stored = layout.count_stored(inputs) if store else []
    count = (layout.count_norms(inputs), STATISTICS, selected) if norms is None else (0,)
    scored, pooled = (edges, 1 + max(sources)) if layout.attends else (0, 0)
    return (
        x.new_empty((blocks, nodes * channels, height, width, LANES)),
        [x.new_empty((outputs * plane,)) for outputs in stored],
        x.new_empty(count, dtype=dtype),
        x.new_empty((scored, blocks, channels, LANES), dtype=dtype),
        x.new_empty((edges, selected), dtype=torch.int64),
        x.new_empty((edges, 2 * (selected + channels)), dtype=torch.int32),
        x.new_empty((pooled, 2, blocks, channels, LANES), dtype=dtype),
        x.new_empty((pooled, blocks, channels, LANES), dtype=torch.int32),
    )


@torch.library.register_fake("adarts_ext::search_cell_backward")
def _fake_backward(
    grad: Tensor,
    states: list[Tensor],
    nodes: Tensor,
    weights: Tensor,
    alphas: Tensor,
    betas: Tensor | None,
    stored: list[Tensor],
    norms: Tensor,
    scores: Tensor,
    maps: Tensor,
    pools: Tensor,
    position: Tensor,
    dropout: Tensor | None,
    batch: int,
    stride: int,
    selected: int,
    hidden: int,
    sources: list[int],
    targets: list[int],
    active: list[int],
    taps: int,
    training: bool,
    eps: float,
    needs_states: list[bool],
    needs_weights: bool,
    needs_alphas: bool,
    needs_betas: bool,
    norms_group: str,
    processes: int,
) -> list[Tensor]:
    grads = [torch.empty_like(x) for x, need in zip(states, needs_states, strict=True) if need]
    if needs_weights:
        grads.append(torch.empty_like(weights))
    if needs_alphas:
        grads.append(torch.empty_like(alphas))
    if needs_betas:
        grads.append(alphas.new_empty((len(sources),)))
    return grads


def _edge_flops(state_shape, layout: CellLayout, inputs: int) -> list[int]:
    """Count the arithmetic of each edge.

    As torch's counter does for the plain modules: convolutions and the attention's layers, two
    operations a multiplication.
    """
    _, channels, height, width, _ = state_shape
    pixels = layout.batch * (height // layout.stride) * (width // layout.stride)
    counts = []
    for edge in layout.edges():
        of_attention = edge.attention_shapes(channels)
        shapes = edge.weight_shapes(inputs, channels)[len(of_attention) :]
        # Two layers for two pools, or one for the averages.
        attention = layout.batch * channels * (8 * layout.hidden + 2 * layout.taps)
        counts.append(2 * pixels * sum(map(math.prod, shapes)) + attention)
    return counts


@register_flop_formula(kernels.search_cell)
def _flops(
    state_shapes,
    weights_shape,
    alphas_shape,
    betas_shape,
    index_shape,
    norms_shape,
    dropout_shape,
    *structure,
    **kwargs,
) -> int:
    layout = CellLayout(*structure[: len(CellLayout._fields)])
    return sum(_edge_flops(state_shapes[0], layout, len(state_shapes)))


@register_flop_formula(kernels.search_cell_backward)
def _flops_backward(
    grad_shape,
    state_shapes,
    nodes_shape,
    weights_shape,
    alphas_shape,
    betas_shape,
    stored_shapes,
    norms_shape,
    scores_shape,
    maps_shape,
    pools_shape,
    position_shape,
    dropout_shape,
    batch,
    stride,
    selected,
    hidden,
    sources,
    targets,
    active,
    taps,
    training,
    eps,
    needs_states,
    needs_weights,
    *args,
    **kwargs,
) -> int:
    inputs = len(state_shapes)
    layout = CellLayout(batch, stride, selected, hidden, 0, sources, targets, False, active, taps)
    of_edge = _edge_flops(state_shapes[0], layout, inputs)
    without = layout._replace(hidden=0, taps=0)  # as scores are kept
    again = _edge_flops(state_shapes[0], without, inputs)
    total = 0
    for edge, source in enumerate(sources):
        passes = int(needs_weights) + int(source >= inputs or needs_states[source])
        total += passes * of_edge[edge]
        total += 0 if stored_shapes else again[edge]
    return total
