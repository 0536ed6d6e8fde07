"""Weighted sum of the candidates of a mixed operation, in one pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from adarts_ext import _library, reference
from adarts_ext.ops.common import check_dtype, check_like, check_shape, kernels
from adarts_ext.ops.operator import once_differentiable, operator


@operator
def mixed_sum(inputs: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Sum tensors, each times its weight: the mixed operation of DARTS.

    ``sum_i weights[i] * inputs[i]`` (DARTS, arXiv 1806.09055, equation 2, with the softmax already
    taken). Differentiable in every input and in ``weights``.

    Args:
        inputs: At least one tensor, all of one shape, dtype and device; float32, float64, bfloat16
            or float16. Memory that differs from that of ``inputs[0]`` is copied.
        weights: One weight per input, ``(len(inputs),)``; another floating dtype is converted.

    Returns:
        A tensor like ``inputs[0]``.

    Raises:
        ValueError: If ``inputs`` is empty or a shape or a device does not fit.
        TypeError: If a dtype does not fit.

    Example:
        >>> mixed_sum([torch.ones(2), torch.full((2,), 3.0)], torch.tensor([0.5, 2.0]))
        tensor([6.5000, 6.5000])
    """
    inputs = list(inputs)
    if not inputs:
        raise ValueError("mixed_sum: inputs is empty, expected at least one tensor")
    first = inputs[0]
    check_dtype("mixed_sum", "input 0", first)
    for i, tensor in enumerate(inputs):
        if tensor.shape != first.shape:
            raise ValueError(
                f"mixed_sum: input {i} has shape {tuple(tensor.shape)}, expected "
                f"{tuple(first.shape)} like input 0"
            )
        if tensor.dtype != first.dtype or tensor.device != first.device:
            check_like("mixed_sum", f"input {i}", tensor, first, "input 0")
    check_shape("mixed_sum", "weights", weights, (len(inputs),))
    if weights.dtype != first.dtype:
        check_dtype("mixed_sum", "weights", weights)
        weights = weights.to(first.dtype)
    check_like("mixed_sum", "weights", weights, first, "input 0")
    if not _library.has_kernels(first):
        return reference.mixed_sum(inputs, weights)
    return _MixedSum.apply(weights, *inputs)


@torch.library.register_fake("adarts_ext::mixed_sum")
def _fake(inputs: list[Tensor], weights: Tensor) -> Tensor:
    return torch.empty_like(inputs[0])


@torch.library.register_fake("adarts_ext::mixed_sum_backward")
def _fake_backward(
    grad: Tensor,
    inputs: list[Tensor],
    weights: Tensor,
    needs_inputs: list[bool],
    needs_weights: bool,
) -> list[Tensor]:
    like = torch.empty_like(inputs[0] if needs_weights else grad)
    grads = [torch.empty_like(like) for needed in needs_inputs if needed]
    if needs_weights:
        grads.append(grad.new_empty((len(needs_inputs),)))
    return grads


class _MixedSum(torch.autograd.Function):
    """What the public function runs: torch's generic wrapper takes three times longer for lists."""

    @staticmethod
    def forward(ctx, weights: Tensor, *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(weights, *(inputs if weights.requires_grad else ()))
        return kernels.mixed_sum(inputs, weights)

    @staticmethod
    @once_differentiable("mixed_sum")
    def backward(ctx, grad: Tensor):
        needs_weights, *needs_inputs = ctx.needs_input_grad
        return _gradients(ctx.saved_tensors, grad, needs_inputs, needs_weights)


def _gradients(saved, grad: Tensor, needs_inputs: list[bool], needs_weights: bool):
    """Return the gradients of weights and of every input, None where not needed."""
    weights, *inputs = saved
    *grads, last = kernels.mixed_sum_backward(grad, inputs, weights, needs_inputs, needs_weights)
    if not needs_weights:
        grads.append(last)
    each = iter(grads)
    return last if needs_weights else None, *(next(each) if n else None for n in needs_inputs)


def _setup_context(ctx, inputs, output) -> None:
    tensors, weights = inputs
    ctx.save_for_backward(weights, *(tensors if weights.requires_grad else ()))


@once_differentiable("mixed_sum")
def _backward(ctx, grad: Tensor):
    needs_inputs, needs_weights = ctx.needs_input_grad
    grad_weights, *grad_inputs = _gradients(
        ctx.saved_tensors, grad, list(needs_inputs), needs_weights
    )
    return grad_inputs, grad_weights


torch.library.register_autograd("adarts_ext::mixed_sum", _backward, setup_context=_setup_context)


@register_flop_formula(kernels.mixed_sum)
def _flops(input_shapes, weights_shape, *args, out_shape: torch.Size | None = None, **kw) -> int:
    return 2 * len(input_shapes) * out_shape.numel()


@register_flop_formula(kernels.mixed_sum_backward)
def _flops_backward(
    grad_shape, input_shapes, weights_shape, needs_inputs, needs_weights, **kwargs
) -> int:
    return grad_shape.numel() * (sum(needs_inputs) + 2 * len(needs_inputs) * int(needs_weights))
