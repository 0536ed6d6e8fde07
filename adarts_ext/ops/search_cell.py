"""The nodes of a search cell with all their mixed operations, on image blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

from adarts_ext import _library, reference
from adarts_ext.ops.common import (
    accumulate_dtype,
    check_alone,
    check_device,
    check_dtype,
    check_enough_values,
    check_image_blocks,
    check_like,
    check_shape,
    check_stride,
    kernels,
    without_padding,
)
from adarts_ext.ops.operator import once_differentiable, operator
from adarts_ext.ops.processes import ALONE, SharedBatch
from adarts_ext.reference.cell_layout import ALL, STATISTICS, CellLayout, CellOutput


@operator
def search_cell(
    states: Sequence[Tensor],
    weights: Sequence[Tensor],
    alphas: Tensor,
    betas: Tensor | None,
    layout: CellLayout,
    index: Tensor | None = None,
    norms: Tensor | None = None,
    store: bool = True,
    eps: float = 1e-5,
    shared: SharedBatch = ALONE,
    dropout: Tensor | None = None,
) -> CellOutput:
    """Compute all nodes of a search cell from its inputs, and their gradients, in fused kernels.

    ``node_j = sum over its edges of beta * y``; of an edge that leaves state h (ADARTS,
    arXiv 2208.00791), with M its attention and S the channels selected:
    ``y[S] = sum_o alpha_o * o(M * h[S])``, and the other channels are those of ``M * h``, through a
    2x2 max pool at stride 2. Differentiable in states, weights, alphas and betas; what is not asked
    for is not computed.

    Args:
        states: The inputs, :func:`adarts_ext.ops.to_image_blocks` of feature maps of one shape and
            dtype: float32, float64 or bfloat16.
        weights: Of each edge in turn, in any floating dtype: the attention's (two where
            ``layout.hidden`` is not 0, one where ``layout.taps`` is not), those of sep_conv_3x3
            (4), sep_conv_5x5 (4), dil_conv_3x3 (2), dil_conv_5x5 (2) and, at stride 2, skip_connect
            (2), without those of candidates that are not active, in the shapes that their
            convolutions have: ``layout.weight_shapes(len(states), C)``. Or one tensor of one axis
            that holds them all end to end.
        alphas: Weights of the operations ``(edges, 8)``, after the softmax. Those of candidates
            that are not active are not read, and their gradient is 0.
        betas: Weights of the edges ``(edges,)``, after the softmax, or None for 1.
        layout: The cell's structure.
        index: Channels selected on each edge ``(edges, c)``, int64, all different; chosen by the
            scores if None.
        norms: Statistics of every BatchNorm ``(norms, 3, c)`` to use in place of the batch's: mean,
            1 / sqrt(variance + eps) and variance. Of each edge in turn, as far as they are active:
            max pool, average pool, sep_conv_3x3 (2), sep_conv_5x5 (2), dil_conv_3x3, dil_conv_5x5
            and, at stride 2, skip_connect.
        store: Whether to keep the convolutions' outputs for backward, or to compute them again.
        eps: Of every BatchNorm.
        shared: What several processes that have a part each of the batch do together.
        dropout: Of the skip connections at stride 1, ``(edges, 2)`` int64: a number that draws
            which values are dropped, and how many of ``2^32`` are; see
            :func:`adarts_ext.reference.skip_dropout.kept_values`. Those that are kept stay what
            they are. None for none.

    Returns:
        The nodes ``(blocks, nodes * C, H, W, 16)``, the batch's statistics in the form of ``norms``
        with the unbiased variance (or no elements where ``norms`` were given), and the channels
        selected in the form of ``index``.

    Raises:
        ValueError: If a shape, a device or the layout does not fit, or a channel has a single value
            to make statistics of.
        TypeError: If a dtype is not one of the above.
        RuntimeError: If a channel of ``index`` is out of range or appears twice; on a GPU, a
            device-side assertion.

    Example:
        >>> from adarts_ext.ops import to_image_blocks
        >>> layout = CellLayout(3, 1, 2, 0, 1, (0,), (0,), False)
        >>> weights = [torch.ones(shape) for shape in layout.weight_shapes(inputs=1, channels=4)]
        >>> x = to_image_blocks(torch.ones(3, 4, 8, 8))
        >>> only_skip = torch.eye(8)[3:4]
        >>> out = search_cell([x], weights, only_skip, None, layout, index=torch.tensor([[2, 0]]))
        >>> torch.equal(out.nodes, x)
        True
    """
    states = [state.contiguous() for state in states]
    weights = list(weights)
    _check(states, weights, alphas, betas, layout, index, norms)
    dropout = _checked_dropout(dropout, states[0], len(layout.sources))
    layout = layout._replace(active=layout.edge_active())  # torch takes no empty list for integers
    if not _library.has_kernels(states[0]):
        weights = _apart(weights, layout.weight_shapes(len(states), states[0].size(1)))
        check_alone("search_cell", shared, states[0])
        return reference.search_cell(
            states, weights, alphas, betas, layout, index, norms, store, eps, dropout
        )
    dtype = accumulate_dtype(states[0].dtype)
    alphas = alphas.to(dtype).contiguous()
    betas = None if betas is None else betas.to(dtype).contiguous()
    norms = None if norms is None else norms.to(dtype).contiguous()
    store = store and torch.is_grad_enabled()
    if torch.compiler.is_compiling():
        flat = torch.cat([weight.reshape(-1) for weight in weights]).to(dtype)
        nodes, _, norms, _, index, *_ = kernels.search_cell(
            states, flat, alphas, betas, index, norms, dropout, *layout, store, eps, *shared
        )
        return CellOutput(nodes, norms, index)
    return CellOutput(
        *_SearchCell.apply(
            alphas,
            betas,
            layout,
            index,
            norms,
            dropout,
            store,
            eps,
            shared,
            len(states),
            *states,
            *weights,
        )
    )


def _check(
    states: Sequence[Tensor],
    weights: Sequence[Tensor],
    alphas: Tensor,
    betas: Tensor | None,
    layout: CellLayout,
    index: Tensor | None,
    norms: Tensor | None,
) -> None:
    op, edges = "search_cell", len(layout.sources)
    if not states:
        raise ValueError(f"{op}: states is empty, expected at least one input")
    first = states[0]
    check_stride(op, layout.stride)
    check_image_blocks(op, "state 0", first, layout.batch, layout.stride)
    for i, state in enumerate(states[1:], 1):
        check_shape(op, f"state {i}", state, first.shape)
        check_like(op, f"state {i}", state, first, "state 0")
    channels = first.size(1)
    _check_layout(layout, len(states), channels)
    _check_weights(weights, layout.weight_shapes(len(states), channels))
    vectors = {"alphas": (alphas, (edges, 8)), "betas": (betas, (edges,))}
    count = layout.count_norms(len(states)), STATISTICS, layout.selected
    for name, (tensor, shape) in (vectors | {"norms": (norms, count)}).items():
        if tensor is not None:
            check_shape(op, name, tensor, shape)
            check_dtype(op, name, tensor)
            check_device(op, name, tensor, first, "state 0")
    if index is not None:
        check_shape(op, "index", index, (edges, layout.selected))
        if index.dtype != torch.int64:
            raise TypeError(f"{op}: index has dtype {index.dtype}, expected torch.int64")
        check_device(op, "index", index, first, "state 0")
    elif not layout.attends:
        raise ValueError(f"{op}: index is None, expected the channels of every edge: no attention")
    if norms is None:
        height, width = (size // layout.stride for size in first.shape[2:4])
        check_enough_values(op, layout.batch, height, width)


def _checked_dropout(dropout: Tensor | None, first: Tensor, edges: int) -> Tensor | None:
    """Return it as the kernels take it."""
    if dropout is None:
        return None
    check_shape("search_cell", "dropout", dropout, (edges, 2))
    if dropout.dtype != torch.int64:
        raise TypeError(f"search_cell: dropout has dtype {dropout.dtype}, expected torch.int64")
    check_device("search_cell", "dropout", dropout, first, "state 0")
    return dropout.contiguous()


def _check_layout(layout: CellLayout, inputs: int, channels: int) -> None:
    _, stride, selected, hidden, nodes, sources, targets, _, active, taps = layout
    if selected < 1 or channels % selected or selected % stride:
        raise ValueError(
            f"search_cell: layout.selected is {selected}, expected a divisor of {channels} channels"
            f"{', even' if stride == 2 else ''}"
        )
    if hidden < 0:
        raise ValueError(f"search_cell: layout.hidden is {hidden}, expected at least 0")
    if taps < 0 or (taps and (taps % 2 == 0 or hidden)):
        raise ValueError(
            f"search_cell: layout.taps is {taps} and layout.hidden {hidden}, expected an odd "
            "number of taps and no hidden unit, or no tap"
        )
    if len(sources) != len(targets) or sorted(set(targets)) != list(range(nodes)) or not nodes:
        raise ValueError(
            f"search_cell: layout has sources {sources} and targets {targets}, expected one of "
            f"each for every edge and an edge into each of {nodes} nodes"
        )
    ordered = list(targets) == sorted(targets)
    if not ordered or any(not 0 <= s < inputs + t for s, t in zip(sources, targets, strict=True)):
        raise ValueError(
            f"search_cell: layout has sources {sources} and targets {targets}, expected edges "
            f"ordered by target that leave one of {inputs} inputs or an earlier node"
        )
    if active and (len(active) != len(sources) or not all(0 <= bits <= ALL for bits in active)):
        raise ValueError(
            f"search_cell: layout.active is {active}, expected a number from 0 to {ALL} for each "
            f"of {len(sources)} edges, or nothing"
        )


def _check_weights(weights: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> None:
    if [weight.shape for weight in weights] == shapes:
        return
    if _is_flat(weights):
        check_shape("search_cell", "weight 0", weights[0], (sum(map(math.prod, shapes)),))
        return
    if len(weights) != len(shapes):
        raise ValueError(f"search_cell: got {len(weights)} weights, expected {len(shapes)}")
    for i, (weight, shape) in enumerate(zip(weights, shapes, strict=True)):
        check_shape("search_cell", f"weight {i}", weight, shape)


def _is_flat(weights: Sequence[Tensor]) -> bool:
    return len(weights) == 1 and weights[0].dim() == 1


def _apart(weights: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> Sequence[Tensor]:
    """Return weights that may be given end to end as one each."""
    if not _is_flat(weights):
        return weights
    parts = weights[0].split(list(map(math.prod, shapes)))
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


class _SearchCell(torch.autograd.Function):
    """What the public function runs: hundreds of weights make one node of the graph."""

    @staticmethod
    def forward(
        ctx, alphas, betas, layout, index, norms, dropout, store, eps, shared, count, *tensors
    ):
        states, weights = list(tensors[:count]), tensors[count:]
        flat = _flatten_dense_tensors(weights) if weights else alphas.new_empty(0)
        flat = flat.to(alphas.dtype)
        inputs = (states, flat, alphas, betas, index, norms, dropout, *layout)
        store = store and any(ctx.needs_input_grad)
        output = kernels.search_cell(*inputs, store, eps, *shared)
        _setup_context(ctx, (*inputs, store, eps, *shared), output)
        ctx.weights = weights
        nodes, _, batch_norms, _, index, *_ = output
        return nodes, batch_norms, index

    @staticmethod
    @once_differentiable("search_cell")
    def backward(ctx, grad, *unused):
        needs_alphas, needs_betas, *needs = ctx.needs_input_grad
        needs_states, needs_weights = needs[8 : 8 + ctx.count], needs[8 + ctx.count :]
        of_states, flat, of_alphas, of_betas = _gradients(
            ctx, grad, needs_states, any(needs_weights), needs_alphas, needs_betas
        )
        of_weights = [None] * len(needs_weights)
        if flat is not None:
            of_weights = _unflatten_dense_tensors(flat, ctx.weights)
        return of_alphas, of_betas, *[None] * 8, *of_states, *of_weights


def _setup_context(ctx, inputs, output) -> None:
    states, flat, alphas, betas, _, norms, dropout, *layout, _, eps, _, group, processes = inputs
    nodes, stored, batch_norms, scores, index, maps, pools, position = output
    ctx.mark_non_differentiable(*stored, batch_norms, scores, index, maps, pools, position)
    ctx.set_materialize_grads(False)
    ctx.layout, ctx.training, ctx.eps, ctx.count = layout, norms is None, eps, len(states)
    ctx.norms_shared = group, processes
    used = batch_norms if norms is None else norms
    ctx.save_for_backward(
        nodes, flat, alphas, betas, used, scores, maps, pools, position, dropout, *states, *stored
    )


def _gradients(ctx, grad, needs_states, needs_weights, needs_alphas, needs_betas):
    """Return the gradients of states, flat weights, alphas and betas; None where not needed."""
    if grad is None:
        return [None] * ctx.count, None, None, None
    nodes, flat, alphas, betas, norms, scores, maps, pools, position, *rest = ctx.saved_tensors
    dropout, states, stored = rest[0], rest[1 : 1 + ctx.count], rest[1 + ctx.count :]
    batch, stride, selected, hidden, _, sources, targets, _, *more = ctx.layout
    of_forward = (stored, norms, scores, maps, pools, position, dropout)
    saved = (states, nodes, flat, alphas, betas, *of_forward)
    structure = (batch, stride, selected, hidden, sources, targets, *more, ctx.training, ctx.eps)
    needed = (list(needs_states), needs_weights, needs_alphas, needs_betas)
    grad = without_padding(grad, batch)
    grads = iter(kernels.search_cell_backward(grad, *saved, *structure, *needed, *ctx.norms_shared))
    of_states = [next(grads) if needed else None for needed in needs_states]
    others = (needs_weights, needs_alphas, needs_betas)
    return of_states, *(next(grads) if needed else None for needed in others)


@once_differentiable("search_cell")
def _backward(ctx, grad, *unused):
    needs_states, *needs = ctx.needs_input_grad
    return *_gradients(ctx, grad, needs_states, *needs[:3]), *[None] * 18


torch.library.register_autograd("adarts_ext::search_cell", _backward, setup_context=_setup_context)
