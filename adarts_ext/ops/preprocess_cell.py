"""The preprocessing of a search cell's inputs, on image blocks."""

from __future__ import annotations

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
    check_shape,
    check_stride,
    differentiable,
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
    check_stride("preprocess_cell", stride)
    check_image_blocks("preprocess_cell", "x", x, batch, stride)
    check_dtype("preprocess_cell", "weights", weights)
    if weights.dim() != 2 or weights.size(1) != x.size(1) or weights.size(0) % stride:
        raise ValueError(
            f"preprocess_cell: weights have shape {tuple(weights.shape)}, expected "
            f"(C, {x.size(1)}){' with even C' if stride == 2 else ''}"
        )
    check_device("preprocess_cell", "weights", weights, x)
    dtype = accumulate_dtype(x.dtype)
    if norms is None:
        check_enough_values("preprocess_cell", batch, x.size(2) // stride, x.size(3) // stride)
    else:
        check_shape("preprocess_cell", "norms", norms, (STATISTICS, weights.size(0)))
        check_device("preprocess_cell", "norms", norms, x)
        norms = norms.to(dtype).contiguous()
    if not _library.has_kernels(x):
        check_alone("preprocess_cell", shared, x)
        return reference.preprocess_cell(x, weights, batch, stride, norms, eps)
    weights = weights.to(dtype).contiguous()
    return _apply(x.contiguous(), weights, norms, batch, stride, eps, *shared[1:])


@torch.library.register_fake("adarts_ext::preprocess_cell")
def _fake(
    x: Tensor,
    weights: Tensor,
    norms: Tensor | None,
    batch: int,
    stride: int,
    eps: float,
    norms_group: str,
    processes: int,
) -> tuple[Tensor, Tensor]:
    blocks, _, height, width, _ = x.shape
    channels = weights.size(0)
    statistics = (STATISTICS, channels) if norms is None else (0,)
    return (
        x.new_empty((blocks, channels, height // stride, width // stride, LANES)),
        x.new_empty(statistics, dtype=accumulate_dtype(x.dtype)),
    )


@torch.library.register_fake("adarts_ext::preprocess_cell_backward")
def _fake_backward(
    grad: Tensor,
    x: Tensor,
    weights: Tensor,
    h: Tensor,
    norms: Tensor,
    batch: int,
    stride: int,
    training: bool,
    needs_x: bool,
    needs_weights: bool,
    norms_group: str,
    processes: int,
) -> list[Tensor]:
    of_x = [torch.empty_like(x)] if needs_x else []
    return of_x + ([torch.empty_like(weights)] if needs_weights else [])


def _setup_context(ctx, inputs, output) -> None:
    x, weights, norms, batch, stride, _, *shared = inputs
    h, batch_norms = output
    ctx.mark_non_differentiable(batch_norms)
    ctx.set_materialize_grads(False)
    ctx.settings, ctx.shared = (batch, stride, norms is None), shared
    ctx.save_for_backward(x, weights, h, batch_norms if norms is None else norms)


@once_differentiable("preprocess_cell")
def _backward(ctx, grad: Tensor | None, *unused):
    needed = ctx.needs_input_grad[:2]
    if grad is None:
        return (None,) * 8
    grad = without_padding(grad, ctx.settings[0])
    arguments = (*ctx.saved_tensors, *ctx.settings, *needed, *ctx.shared)
    grads = iter(kernels.preprocess_cell_backward(grad, *arguments))
    return *(next(grads) if need else None for need in needed), *[None] * 6


_apply = differentiable("preprocess_cell", _setup_context, _backward)


def _convolution_flops(x_shape, weights_shape, batch: int, stride: int) -> int:
    """Count the convolution alone, as torch's counter does for the plain layers."""
    channels, in_channels = weights_shape
    _, _, height, width, _ = x_shape
    return 2 * batch * (height // stride) * (width // stride) * channels * in_channels


@register_flop_formula(kernels.preprocess_cell)
def _flops(x_shape, weights_shape, norms_shape, batch, stride, *args, **kwargs) -> int:
    return _convolution_flops(x_shape, weights_shape, batch, stride)


@register_flop_formula(kernels.preprocess_cell_backward)
def _flops_backward(
    grad_shape,
    x_shape,
    weights_shape,
    h_shape,
    norms_shape,
    batch,
    stride,
    training,
    needs_x,
    needs_weights,
    *args,
    **kwargs,
) -> int:
    once = _convolution_flops(x_shape, weights_shape, batch, stride)
    return once * (int(needs_x) + int(needs_weights))
