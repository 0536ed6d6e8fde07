"""Channel attention: both pools in one read, the two small layers and the sigmoid."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from adarts_ext import _library, reference
from adarts_ext.ops.common import (
    accumulate_dtype,
    check_dtype,
    check_feature_map,
    check_like,
    check_shape,
    differentiable,
    empty_feature_map,
    is_interleaved,
    kernels,
)
from adarts_ext.ops.operator import once_differentiable, operator


@operator
def channel_attention(x: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
    """Score the channels of a feature map by CBAM's channel attention.

    ``sigmoid(w2 relu(w1 average(x)) + w2 relu(w1 maximum(x)))`` with the average and the maximum
    taken over the plane (CBAM, arXiv 1807.06521, equation 2; ADARTS, arXiv 2208.00791).
    Differentiable in all arguments; ``x`` itself is not kept for the backward pass.

    Args:
        x: Feature map ``(N, C, H, W)``; any floating dtype and memory format.
        w1: Weight of the first 1x1 convolution, ``(R, C)`` or ``(R, C, 1, 1)``.
        w2: Weight of the second 1x1 convolution, ``(C, R)`` or ``(C, R, 1, 1)``. Weights in another
            floating point dtype are converted to that of ``x``.

    Returns:
        Scores ``(N, C)`` in (0, 1), in the dtype of ``x``.

    Raises:
        ValueError: If a shape or a device does not fit.
        TypeError: If a dtype is not one of the above.
        RuntimeError: On a GPU, with more than 4,096 channels or 2,048 hidden units.

    Example:
        >>> channel_attention(torch.zeros(1, 4, 8, 8), torch.ones(2, 4), torch.ones(4, 2))
        tensor([[0.5000, 0.5000, 0.5000, 0.5000]])
    """
    check_feature_map("channel_attention", "x", x)
    _, channels, height, width = x.shape
    if height * width == 0:
        raise ValueError(
            f"channel_attention: x has shape {tuple(x.shape)}, expected at least one pixel"
        )
    hidden = w1.size(0) if w1.dim() else 0
    w1 = _as_matrix("w1", w1, (hidden, channels), x)
    w2 = _as_matrix("w2", w2, (channels, hidden), x)
    if not _library.has_kernels(x):
        return reference.channel_attention(x, w1, w2)
    return _apply(x, w1, w2)[0]


def _as_matrix(name: str, weight: Tensor, shape: tuple[int, int], x: Tensor) -> Tensor:
    if weight.dim() == 4 and weight.shape[2:] == (1, 1):
        weight = weight.flatten(1)
    check_shape("channel_attention", name, weight, shape)
    if weight.dtype != x.dtype:
        check_dtype("channel_attention", name, weight)
        weight = weight.to(x.dtype)
    check_like("channel_attention", name, weight, x)
    return weight


@torch.library.register_fake("adarts_ext::channel_attention")
def _fake(x: Tensor, w1: Tensor, w2: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    n, channels = x.shape[:2]
    accumulate = accumulate_dtype(x.dtype)
    return (
        x.new_empty((n, channels)),
        x.new_empty((2, n, channels), dtype=accumulate),
        x.new_empty((2, n, w1.size(0)), dtype=accumulate),
        x.new_empty((n, channels), dtype=torch.int64),
    )


@torch.library.register_fake("adarts_ext::channel_attention_backward")
def _fake_backward(
    grad: Tensor,
    scores: Tensor,
    w1: Tensor,
    w2: Tensor,
    pooled: Tensor,
    hidden: Tensor,
    position: Tensor,
    height: int,
    width: int,
    channels_last: bool,
    needs_x: bool,
    needs_w1: bool,
    needs_w2: bool,
) -> list[Tensor]:
    grads = []
    if needs_x:
        grads.append(empty_feature_map(scores, (*scores.shape, height, width), channels_last))
    if needs_w1:
        grads.append(scores.new_empty(w1.shape))
    if needs_w2:
        grads.append(scores.new_empty(w2.shape))
    return grads


def _setup_context(ctx, inputs, output) -> None:
    x, w1, w2 = inputs
    scores, pooled, hidden, position = output
    ctx.mark_non_differentiable(pooled, hidden, position)
    ctx.set_materialize_grads(False)
    ctx.size = (x.size(2), x.size(3), is_interleaved(x))
    ctx.save_for_backward(scores, w1, w2, pooled, hidden, position)


@once_differentiable("channel_attention")
def _backward(ctx, grad: Tensor | None, *unused):
    if grad is None:
        return None, None, None
    needed = ctx.needs_input_grad
    grads = iter(kernels.channel_attention_backward(grad, *ctx.saved_tensors, *ctx.size, *needed))
    return tuple(next(grads) if need else None for need in needed)


_apply = differentiable("channel_attention", _setup_context, _backward)


@register_flop_formula(kernels.channel_attention)
def _flops(x_shape, w1_shape, w2_shape, *args, out_shape=None, **kwargs) -> int:
    return 2 * x_shape.numel() + 8 * x_shape[0] * w1_shape.numel()


@register_flop_formula(kernels.channel_attention_backward)
def _flops_backward(
    grad_shape,
    scores_shape,
    w1_shape,
    w2_shape,
    pooled_shape,
    hidden_shape,
    position_shape,
    height,
    width,
    channels_last,
    needs_x,
    needs_w1,
    needs_w2,
    **kwargs,
) -> int:
    layer = grad_shape[0] * w1_shape.numel()
    unpooled = grad_shape.numel() * height * width if needs_x else 0
    return layer * (2 + 4 * (int(needs_x) + int(needs_w1) + int(needs_w2))) + unpooled
