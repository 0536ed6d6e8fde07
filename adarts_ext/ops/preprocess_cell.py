"""The preprocessing of a search cell's inputs, on image blocks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

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
from adarts_ext.reference.cell_layout import STATISTICS
from adarts_ext.reference.image_blocks import LANES


@operator
def preprocess_cell(
    x: Tensor,
    weights: Tensor,
    batch: int,
    stride: int,
    norms: Tensor | None = None,
    eps: float = 1e-5,
    shared: SharedBatch = ALONE,
) -> tuple[Tensor, Tensor]:
    """ReLU, 1x1 convolution and BatchNorm without scale and shift (DARTS, arXiv 1806.09055).

    At stride 2 it is DARTS's FactorizedReduce: the first half of the output channels comes from the
    pixels of even rows and columns, the second half from those of odd ones. Differentiable in ``x``
    and ``weights``; no more than ``x`` and the output are kept for the backward pass.

    Args:
        x: Image blocks ``(blocks, C_in, H, W, 16)``, see :func:`adarts_ext.ops.to_image_blocks`:
            float32, float64 or bfloat16.
        weights: ``(C, C_in)``, any floating dtype.
        batch: N.
        stride: 1, or 2 for even C, H and W.
        norms: Statistics ``(3, C)``, see :func:`adarts_ext.ops.search_cell`, to use in place of the
            batch's.
        eps: Of the BatchNorm.
        shared: What several processes that have a part each of the batch do together.

    Returns:
        ``(blocks, C, H / stride, W / stride, 16)`` and the batch's statistics ``(3, C)``, which are
        without elements where ``norms`` were given.

    Raises:
        ValueError: If a shape, the stride or a device does not fit, or a channel has a single
            value to make statistics of.
        TypeError: If a dtype is not one of the above.

    Example:
        >>> from adarts_ext.ops import from_image_blocks, to_image_blocks
        >>> x = torch.arange(2.0).reshape(2, 1, 1, 1).expand(2, 3, 4, 4)
        >>> h, norms = preprocess_cell(to_image_blocks(x), torch.ones(2, 3), batch=2, stride=2)
        >>> from_image_blocks(h, 2)[:, 0, 0, 0], norms[0]
        (tensor([-1.0000,  1.0000]), tensor([1.5000, 1.5000]))
    """
    given = None if norms is None else [norms]
    (h,), statistics = _run([x], [weights], batch, [stride], given, eps, shared)
    return h, statistics[0] if norms is None else statistics.flatten()


@operator
def preprocess_inputs(
    xs: Sequence[Tensor],
    weights: Sequence[Tensor],
    batch: int,
    strides: Sequence[int],
    norms: Sequence[Tensor] | None = None,
    eps: float = 1e-5,
    shared: SharedBatch = ALONE,
) -> tuple[list[Tensor], Tensor]:
    """Preprocess both inputs of a cell at once: :func:`preprocess_cell` of each.

    Args:
        xs: One or two inputs, whose results must have one shape.
        weights: Those of each.
        batch: N.
        strides: That of each.
        norms: The statistics of each, to use in place of the batch's.
        eps: Of the BatchNorms.
        shared: What several processes that have a part each of the batch do together.

    Returns:
        The output of each, and the batch's statistics ``(inputs, 3, C)``, ``(0, 3, C)`` where
        ``norms`` were given.

    Raises:
        ValueError: As :func:`preprocess_cell`, or if the results differ in shape.
        TypeError: If a dtype is not one of those.
    """
    return _run(xs, weights, batch, strides, norms, eps, shared)


def _run(xs, weights, batch, strides, norms, eps, shared) -> tuple[list[Tensor], Tensor]:
    for i, (x, weight, stride) in enumerate(zip(xs, weights, strides, strict=True)):
        _check(x, weight, batch, stride, None if norms is None else norms[i])
    first = xs[0]
    for x, weight, stride in zip(xs[1:], weights[1:], strides[1:], strict=True):
        check_like("preprocess_cell", "input 1", x, first, "input 0")
        shapes = [_shape(*each) for each in ((first, weights[0], strides[0]), (x, weight, stride))]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"preprocess_cell: the results of two inputs have shapes {shapes[0]} and "
                f"{shapes[1]}, expected one shape"
            )
    dtype = accumulate_dtype(first.dtype)
    given = [] if norms is None else [some.to(dtype).contiguous() for some in norms]
    if not _library.has_kernels(first):
        check_alone("preprocess_cell", shared, first)
        each = zip(xs, weights, strides, given or [None] * len(xs), strict=True)
        made = [
            reference.preprocess_cell(x, weight, batch, stride, some, eps)
            for x, weight, stride, some in each
        ]
        h = [one for one, _ in made]
        return h, first.new_empty((0, STATISTICS, h[0].size(1)), dtype=dtype) if given else (
            torch.stack([statistics for _, statistics in made])
        )
    xs = [x.contiguous() for x in xs]
    if len(xs) == 2 and xs[1] is xs[0]:  # as in the first cell
        xs[1] = xs[0].view_as(xs[0])  # torch.compile passes no tensor twice
    weights = [weight.to(dtype).contiguous() for weight in weights]
    settings = given, batch, list(strides), eps, *shared[1:]
    *h, statistics = _PreprocessCell.apply(settings, *xs, *weights)
    return h, statistics


def _check(x: Tensor, weights: Tensor, batch: int, stride: int, norms: Tensor | None) -> None:
    check_stride("preprocess_cell", stride)
    check_image_blocks("preprocess_cell", "x", x, batch, stride)
    check_dtype("preprocess_cell", "weights", weights)
    if weights.dim() != 2 or weights.size(1) != x.size(1) or weights.size(0) % stride:
        raise ValueError(
            f"preprocess_cell: weights have shape {tuple(weights.shape)}, expected "
            f"(C, {x.size(1)}){' with even C' if stride == 2 else ''}"
        )
    check_device("preprocess_cell", "weights", weights, x)
    if norms is None:
        check_enough_values("preprocess_cell", batch, x.size(2) // stride, x.size(3) // stride)
    else:
        check_shape("preprocess_cell", "norms", norms, (STATISTICS, weights.size(0)))
        check_device("preprocess_cell", "norms", norms, x)


def _shape(x: Tensor, weights: Tensor, stride: int) -> tuple[int, ...]:
    blocks, _, height, width, _ = x.shape
    return blocks, weights.size(0), height // stride, width // stride, LANES


@torch.library.register_fake("adarts_ext::preprocess_cell")
def _fake(
    x: Sequence[Tensor],
    weights: Sequence[Tensor],
    norms: Sequence[Tensor],
    batch: int,
    strides: Sequence[int],
    eps: float,
    norms_group: str,
    processes: int,
) -> tuple[list[Tensor], Tensor]:
    shapes = [_shape(*each) for each in zip(x, weights, strides, strict=True)]
    statistics = 0 if norms else len(x), STATISTICS, weights[0].size(0)
    return (
        [one.new_empty(shape) for one, shape in zip(x, shapes, strict=True)],
        x[0].new_empty(statistics, dtype=accumulate_dtype(x[0].dtype)),
    )


@torch.library.register_fake("adarts_ext::preprocess_cell_backward")
def _fake_backward(
    grads: Sequence[Tensor],
    x: Sequence[Tensor],
    weights: Sequence[Tensor],
    h: Sequence[Tensor],
    norms: Sequence[Tensor],
    batch: int,
    strides: Sequence[int],
    training: bool,
    needs_x: Sequence[bool],
    needs_weights: bool,
    norms_group: str,
    processes: int,
) -> list[Tensor]:
    of_x = [torch.empty_like(one) for one, needed in zip(x, needs_x, strict=True) if needed]
    count = sum(weight.numel() for weight in weights)
    return of_x + ([weights[0].new_empty(count)] if needs_weights else [])


class _PreprocessCell(torch.autograd.Function):
    """What the public functions run: tensors in lists would hide from autograd."""

    @staticmethod
    def forward(ctx, settings, *tensors):
        count = len(tensors) // 2
        inputs = list(tensors[:count]), list(tensors[count:]), *settings
        output = kernels.preprocess_cell(*inputs)
        _setup_context(ctx, inputs, output)
        h, batch_norms = output
        return *h, batch_norms

    @staticmethod
    @once_differentiable("preprocess_cell")
    def backward(ctx, *grads):
        needs, count = ctx.needs_input_grad[1:], ctx.count
        return None, *_gradients(ctx, grads[:count], needs[:count], needs[count:])


def _setup_context(ctx, inputs, output) -> None:
    xs, weights, norms, batch, strides, _, *shared = inputs
    h, batch_norms = output
    ctx.mark_non_differentiable(batch_norms)
    ctx.set_materialize_grads(False)
    ctx.count, ctx.shared = len(xs), shared
    ctx.settings = batch, list(strides), not norms
    ctx.save_for_backward(*xs, *weights, *h, *(norms or [batch_norms]))


def _gradients(ctx, grads, needs_x, needs_weights) -> list[Tensor | None]:
    """Return the gradients of all x, then those of all weights; None where not needed."""
    count, saved = ctx.count, ctx.saved_tensors
    xs, weights, h = (list(saved[first * count : (first + 1) * count]) for first in range(3))
    norms = list(saved[3 * count :])
    batch, strides, training = ctx.settings
    if training:
        norms = list(norms[0].unbind())
    if all(grad is None for grad in grads):
        return [None] * (2 * count)
    grads = [
        torch.zeros_like(like) if grad is None else without_padding(grad, batch)
        for grad, like in zip(grads, h, strict=True)
    ]
    of_weights = any(needs_weights)
    arguments = (grads, xs, weights, h, norms, batch, strides, training)
    needed = (list(needs_x), of_weights, *ctx.shared)
    made = iter(kernels.preprocess_cell_backward(*arguments, *needed))
    of_x = [next(made) if need else None for need in needs_x]
    if not of_weights:
        return [*of_x, *[None] * count]
    flat = next(made).split([weight.numel() for weight in weights])
    of_each = [part.view(weight.shape) for part, weight in zip(flat, weights, strict=True)]
    return [
        *of_x,
        *(each if need else None for each, need in zip(of_each, needs_weights, strict=True)),
    ]


@once_differentiable("preprocess_cell")
def _backward(ctx, grads: Sequence[Tensor | None], *unused):
    needs_x, needs_weights, needs_norms, *others = ctx.needs_input_grad
    made = _gradients(ctx, grads, needs_x, needs_weights)
    none_of_norms = [None] * len(needs_norms)
    return made[: ctx.count], made[ctx.count :], none_of_norms, *[None] * len(others)


torch.library.register_autograd(
    "adarts_ext::preprocess_cell", _backward, setup_context=_setup_context
)


def _convolution_flops(x_shape, weights_shape, batch: int, stride: int) -> int:
    """Count the convolution alone, as torch's counter does for the plain layers."""
    channels, in_channels = weights_shape
    _, _, height, width, _ = x_shape
    return 2 * batch * (height // stride) * (width // stride) * channels * in_channels


@register_flop_formula(kernels.preprocess_cell)
def _flops(x_shapes, weights_shapes, norms_shapes, batch, strides, *args, **kwargs) -> int:
    each = zip(x_shapes, weights_shapes, strides, strict=True)
    return sum(_convolution_flops(x, weights, batch, stride) for x, weights, stride in each)


@register_flop_formula(kernels.preprocess_cell_backward)
def _flops_backward(
    grads_shapes,
    x_shapes,
    weights_shapes,
    h_shapes,
    norms_shapes,
    batch,
    strides,
    training,
    needs_x,
    needs_weights,
    *args,
    **kwargs,
) -> int:
    each = zip(x_shapes, weights_shapes, strides, needs_x, strict=True)
    return sum(
        _convolution_flops(x, weights, batch, stride) * (int(needs_weights) + int(needs))
        for x, weights, stride, needs in each
    )
