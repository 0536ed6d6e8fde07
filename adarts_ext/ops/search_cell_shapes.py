"""What torch asks about the operators of :mod:`adarts_ext.ops.search_cell`: shapes, arithmetic."""

from __future__ import annotations

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
    batch: int,
    stride: int,
    selected: int,
    hidden: int,
    nodes: int,
    sources: list[int],
    targets: list[int],
    shuffle: bool,
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
    layout = CellLayout(batch, stride, selected, hidden, nodes, sources, targets, shuffle)
    plane = blocks * selected * height * width * LANES
    stored = [7 if s == 2 else 6 for s in layout.edge_strides(inputs) if store]
    count = (layout.count_norms(inputs), STATISTICS, selected) if norms is None else (0,)
    scored, pooled = (edges, 1 + max(sources)) if hidden else (0, 0)
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
    batch: int,
    stride: int,
    selected: int,
    hidden: int,
    sources: list[int],
    targets: list[int],
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


def _edge_flops(state_shape, batch: int, stride: int, selected: int, hidden: int) -> list[int]:
    """Count the arithmetic of an edge from a node, and of an edge from an input.

    As torch's counter does for the plain modules: convolutions and the attention's layers, two
    operations a multiplication.
    """
    _, channels, height, width, _ = state_shape
    values = batch * (height // stride) * (width // stride) * selected
    taps = 3 * 3 * 3 + 3 * 5 * 5
    attention = 8 * batch * hidden * channels  # two layers for two pools
    from_input = 7 if stride == 2 else 6  # pointwise convolutions
    return [2 * values * (taps + count * selected) + attention for count in (6, from_input)]


@register_flop_formula(kernels.search_cell)
def _flops(
    state_shapes,
    weights_shape,
    alphas_shape,
    betas_shape,
    index_shape,
    norms_shape,
    batch,
    stride,
    selected,
    hidden,
    nodes,
    sources,
    *args,
    **kwargs,
) -> int:
    inputs = len(state_shapes)
    of_edge = _edge_flops(state_shapes[0], batch, stride, selected, hidden)
    return sum(of_edge[source < inputs] for source in sources)


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
    batch,
    stride,
    selected,
    hidden,
    sources,
    targets,
    training,
    eps,
    needs_states,
    needs_weights,
    *args,
    **kwargs,
) -> int:
    inputs = len(state_shapes)
    of_edge = _edge_flops(state_shapes[0], batch, stride, selected, hidden)
    again = _edge_flops(state_shapes[0], batch, stride, selected, 0)  # scores are kept
    total = 0
    for source in sources:
        passes = int(needs_weights) + int(source >= inputs or needs_states[source])
        total += passes * of_edge[source < inputs]
        total += 0 if stored_shapes else again[source < inputs]
    return total
