"""Channel gather: the chosen channels of a feature map, scaled on the way."""

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
def gather_channels(x: Tensor, index: Tensor, scale: Tensor | None = None) -> Tensor:
    """Take channels of a feature map, each multiplied by its scale.

    ``out[:, j] = scale[:, index[j]] * x[:, index[j]]`` (ADARTS, arXiv 2208.00791: the selected
    channels of ``M * h``). Differentiable in ``x`` and ``scale``.

    Args:
        x: Feature map ``(N, C, H, W)``; any floating dtype and memory format.
        index: Channel indices ``(k,)``, int64; a channel may appear more than once.
        scale: One factor per image and channel, ``(N, C)``, in the dtype of ``x``; or None.

    Returns:
        The chosen channels ``(N, k, H, W)``, in channels_last memory where ``x`` is.

    Raises:
        ValueError: If a shape or a device does not fit.
        TypeError: If a dtype does not fit.
        RuntimeError: If an index is out of range; on a GPU, a device-side assertion.

    Example:
        >>> x = torch.arange(3.0).reshape(1, 3, 1, 1)
        >>> gather_channels(x, torch.tensor([2, 0]), torch.full((1, 3), 10.0)).flatten()
        tensor([20.,  0.])
    """
    check_feature_map("gather_channels", "x", x)
    check_index("gather_channels", index, x)
    if scale is not None:
        check_shape("gather_channels", "scale", scale, x.shape[:2])
        check_like("gather_channels", "scale", scale, x)
    if not _library.has_kernels(x):
        return reference.gather_channels(x, index, scale)
    return _apply(x, index, scale)


@torch.library.register_fake("adarts_ext::gather_channels")
def _fake(x: Tensor, index: Tensor, scale: Tensor | None) -> Tensor:
    n, _, height, width = x.shape
    return empty_feature_map(x, (n, index.size(0), height, width), is_interleaved(x))


@torch.library.register_fake("adarts_ext::gather_channels_backward")
def _fake_backward(
    grad: Tensor,
    x: Tensor | None,
    index: Tensor,
    scale: Tensor | None,
    channels: int,
    needs_x: bool,
    needs_scale: bool,
) -> list[Tensor]:
    n, _, height, width = grad.shape
    grads = []
    if needs_x:
        grads.append(empty_feature_map(grad, (n, channels, height, width), is_interleaved(grad)))
    if needs_scale:
        grads.append(grad.new_empty((n, channels)))
    return grads


def _setup_context(ctx, inputs, output) -> None:
    x, index, scale = inputs
    ctx.channels = x.size(1)
    needs_scale = scale is not None and scale.requires_grad
    ctx.save_for_backward(x if needs_scale else None, index, scale)


@once_differentiable("gather_channels")
def _backward(ctx, grad: Tensor):
    x, index, scale = ctx.saved_tensors
    needs_x, _, needs_scale = ctx.needs_input_grad
    grads = iter(
        kernels.gather_channels_backward(grad, x, index, scale, ctx.channels, needs_x, needs_scale)
    )
    return next(grads) if needs_x else None, None, next(grads) if needs_scale else None


_apply = differentiable("gather_channels", _setup_context, _backward)


@register_flop_formula(kernels.gather_channels)
def _flops(
    x_shape, index_shape, scale_shape=None, *args, out_shape: torch.Size | None = None, **kwargs
) -> int:
    return 0 if scale_shape is None else out_shape.numel()


@register_flop_formula(kernels.gather_channels_backward)
def _flops_backward(
    grad_shape, x_shape, index_shape, scale_shape, channels, needs_x, needs_scale, **kwargs
) -> int:
    scaled = needs_x and scale_shape is not None
    return grad_shape.numel() * (int(scaled) + 2 * int(needs_scale))
