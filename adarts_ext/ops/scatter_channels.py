"""Channel scatter: updated channels in their places among the scaled and pooled others."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from adarts_ext import _library, reference
from adarts_ext.ops.common import (
    check_feature_map,
    check_index,
    check_like,
    check_shape,
    differentiable,
    empty_feature_map,
    is_interleaved,
    kernels,
)
from adarts_ext.ops.operator import once_differentiable, operator


@operator
def scatter_channels(
    x: Tensor, index: Tensor, update: Tensor, scale: Tensor | None = None, stride: int = 1
) -> Tensor:
    """Put updated channels into their places and let the scaled others pass by.

    ``out[:, index] = update``; every other channel is ``scale * x``, through a 2x2 max pool of
    stride 2 where ``stride`` is 2 (ADARTS, arXiv 2208.00791: the output of one edge).
    Differentiable in ``x``, ``update`` and ``scale``.

    Args:
        x: Feature map ``(N, C, H, W)``; any floating dtype and memory format.
        index: Distinct channel indices ``(k,)``, int64.
        update: New values of those channels, ``(N, k, H // stride, W // stride)``.
        scale: One factor per image and channel, ``(N, C)``, in the dtype of ``x``; or None.
        stride: 1 or 2; H and W must be even at stride 2.

    Returns:
        Feature map ``(N, C, H // stride, W // stride)``, in channels_last memory where ``x`` is.

    Raises:
        ValueError: If a shape, the stride or a device does not fit.
        TypeError: If a dtype does not fit.
        RuntimeError: If an index is out of range or appears twice; on a GPU, a device-side
            assertion.

    Example:
        >>> x = torch.ones(1, 3, 1, 1)
        >>> scatter_channels(x, torch.tensor([1]), torch.full((1, 1, 1, 1), 7.0)).flatten()
        tensor([1., 7., 1.])
    """
    check_feature_map("scatter_channels", "x", x)
    check_index("scatter_channels", index, x)
    n, channels, height, width = x.shape
    if stride not in (1, 2):
        raise ValueError(f"scatter_channels: stride is {stride}, expected 1 or 2")
    if height % stride or width % stride:
        raise ValueError(
            f"scatter_channels: x has shape {tuple(x.shape)}, expected even H and W at stride 2"
        )
    check_shape(
        "scatter_channels",
        "update",
        update,
        (n, index.size(0), height // stride, width // stride),
    )
    check_like("scatter_channels", "update", update, x)
    if scale is not None:
        check_shape("scatter_channels", "scale", scale, (n, channels))
        check_like("scatter_channels", "scale", scale, x)
    if not _library.has_kernels(x):
        return reference.scatter_channels(x, index, update, scale, stride)
    return _apply(x, index, update, scale, stride)


@torch.library.register_fake("adarts_ext::scatter_channels")
def _fake(x: Tensor, index: Tensor, update: Tensor, scale: Tensor | None, stride: int) -> Tensor:
    n, channels, height, width = x.shape
    shape = (n, channels, height // stride, width // stride)
    return empty_feature_map(x, shape, is_interleaved(x))


@torch.library.register_fake("adarts_ext::scatter_channels_backward")
def _fake_backward(
    grad: Tensor,
    x: Tensor | None,
    index: Tensor,
    scale: Tensor | None,
    stride: int,
    needs_x: bool,
    needs_update: bool,
    needs_scale: bool,
) -> list[Tensor]:
    n, channels, height, width = grad.shape
    interleaved = is_interleaved(grad)
    grads = []
    if needs_x:
        shape = (n, channels, height * stride, width * stride)
        grads.append(empty_feature_map(grad, shape, interleaved))
    if needs_update:
        grads.append(empty_feature_map(grad, (n, index.size(0), height, width), interleaved))
    if needs_scale:
        grads.append(grad.new_empty((n, channels)))
    return grads


def _setup_context(ctx, inputs, output) -> None:
    x, index, _, scale, stride = inputs
    ctx.stride = stride
    needs_scale = scale is not None and scale.requires_grad
    reads_x = needs_scale or (x.requires_grad and stride == 2)
    ctx.save_for_backward(x if reads_x else None, index, scale)


@once_differentiable("scatter_channels")
def _backward(ctx, grad: Tensor):
    x, index, scale = ctx.saved_tensors
    needs_x, _, needs_update, needs_scale, _ = ctx.needs_input_grad
    grads = iter(
        kernels.scatter_channels_backward(
            grad, x, index, scale, ctx.stride, needs_x, needs_update, needs_scale
        )
    )
    return (
        next(grads) if needs_x else None,
        None,
        next(grads) if needs_update else None,
        next(grads) if needs_scale else None,
        None,
    )


_apply = differentiable("scatter_channels", _setup_context, _backward)


@register_flop_formula(kernels.scatter_channels)
def _flops(
    x_shape,
    index_shape,
    update_shape,
    scale_shape,
    stride,
    *args,
    out_shape: torch.Size | None = None,
    **kwargs,
) -> int:
    passed = out_shape.numel() - update_shape.numel()
    return 0 if scale_shape is None else passed * stride * stride


@register_flop_formula(kernels.scatter_channels_backward)
def _flops_backward(
    grad_shape,
    x_shape,
    index_shape,
    scale_shape,
    stride,
    needs_x,
    needs_update,
    needs_scale,
    **kwargs,
) -> int:
    n, channels, height, width = grad_shape
    passed = n * (channels - index_shape[0]) * height * width
    scaled = needs_x and scale_shape is not None
    return passed * (int(scaled) + 2 * int(needs_scale))
