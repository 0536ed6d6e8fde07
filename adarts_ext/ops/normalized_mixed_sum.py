"""Weighted sum of the candidates of a mixed operation and their BatchNorms, in one pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from adarts_ext import _library, reference
from adarts_ext.ops.common import (
    accumulate_dtype,
    check_device,
    check_dtype,
    check_enough_values,
    check_feature_map,
    check_like,
    check_shape,
    kernels,
)
from adarts_ext.ops.operator import once_differentiable, operator
from adarts_ext.reference.cell_layout import STATISTICS
from adarts_ext.reference.normalized_mixed_sum import NormalizedMixedSum


@operator
def normalized_mixed_sum(
    inputs: Sequence[Tensor],
    weights: Tensor,
    normalized: Sequence[bool],
    norms: Tensor | None = None,
    eps: float = 1e-5,
) -> NormalizedMixedSum:
    """Sum feature maps, each times its weight, some of them through a BatchNorm first.

    ``sum_i weights[i] * y_i`` (DARTS, arXiv 1806.09055, equation 2), where
    ``y_i = (x_i - mean_i) / sqrt(variance_i + eps)`` in every channel (batch normalization without
    scale and shift, arXiv 1502.03167, algorithm 1) where input i is normalized, and ``x_i`` itself
    where it is not. It is for candidates whose last layer is a BatchNorm: their outputs before it
    are all that is kept for backward. Differentiable in every input and in ``weights``.

    Args:
        inputs: At least one feature map (N, C, H, W), all of one shape, dtype and device; float32,
            float64, bfloat16 or float16. Memory that is not contiguous is copied.
        weights: One weight per input, ``(len(inputs),)``, any floating dtype.
        normalized: Whether an input is normalized, one for each.
        norms: Statistics of each normalized input ``(normalized inputs, 3, C)`` in place of the
            batch's: mean, 1 / sqrt(variance + eps), variance (of which the first two are used).
        eps: Added to the variance.

    Returns:
        The sum (N, C, H, W), contiguous, and the batch's statistics in the form of ``norms`` with
        the unbiased variance, in float32 (float64 for float64), or no elements where ``norms`` were
        given; they have no gradient.

    Raises:
        ValueError: If ``inputs`` is empty, a shape, a device or the number of flags does not fit,
            or a channel has a single value to make statistics of.
        TypeError: If a dtype does not fit.

    Example:
        >>> x = torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1)
        >>> out, norms = normalized_mixed_sum([x, x], torch.tensor([0.5, 2.0]), [True, False])
        >>> out.flatten(), norms.flatten()
        (tensor([1.5000, 6.5000]), tensor([2.0000, 1.0000, 2.0000]))
    """
    inputs, normalized = list(inputs), list(normalized)
    _check(inputs, weights, normalized, norms)
    if not _library.has_kernels(inputs[0]):
        return reference.normalized_mixed_sum(inputs, weights, normalized, norms, eps)
    dtype = accumulate_dtype(inputs[0].dtype)
    norms = None if norms is None else norms.to(dtype)
    return NormalizedMixedSum(
        *_NormalizedMixedSum.apply(weights.to(dtype), normalized, norms, eps, *inputs)
    )


def _check(
    inputs: list[Tensor], weights: Tensor, normalized: list[bool], norms: Tensor | None
) -> None:
    op = "normalized_mixed_sum"
    if not inputs:
        raise ValueError(f"{op}: inputs is empty, expected at least one feature map")
    first = inputs[0]
    check_feature_map(op, "input 0", first)
    for i, tensor in enumerate(inputs[1:], 1):
        if tensor.shape != first.shape:
            raise ValueError(
                f"{op}: input {i} has shape {tuple(tensor.shape)}, expected "
                f"{tuple(first.shape)} like input 0"
            )
        check_like(op, f"input {i}", tensor, first, "input 0")
    check_shape(op, "weights", weights, (len(inputs),))
    if len(normalized) != len(inputs):
        raise ValueError(
            f"{op}: normalized has {len(normalized)} flags, expected {len(inputs)}, one per input"
        )
    count, channels, height, width = first.shape
    vectors = {"weights": weights}
    if norms is not None:
        check_shape(op, "norms", norms, (sum(normalized), STATISTICS, channels))
        vectors["norms"] = norms
    elif any(normalized):
        check_enough_values(op, count, height, width)
    for name, vector in vectors.items():
        check_dtype(op, name, vector)
        check_device(op, name, vector, first, "input 0")


@torch.library.register_fake("adarts_ext::normalized_mixed_sum")
def _fake(
    inputs: list[Tensor],
    weights: Tensor,
    normalized: list[bool],
    norms: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor]:
    x = inputs[0]
    statistics = (sum(normalized), STATISTICS, x.size(1)) if norms is None else (0,)
    return x.new_empty(x.shape), x.new_empty(statistics, dtype=accumulate_dtype(x.dtype))


@torch.library.register_fake("adarts_ext::normalized_mixed_sum_backward")
def _fake_backward(
    grad: Tensor,
    inputs: list[Tensor],
    weights: Tensor,
    normalized: list[bool],
    norms: Tensor,
    training: bool,
    needs_inputs: list[bool],
    needs_weights: bool,
) -> list[Tensor]:
    grads = [grad.new_empty(grad.shape) for needed in needs_inputs if needed]
    return grads + ([torch.empty_like(weights)] if needs_weights else [])


class _NormalizedMixedSum(torch.autograd.Function):
    """What the public function runs, as :mod:`adarts_ext.ops.mixed_sum` says."""

    @staticmethod
    def forward(ctx, weights, normalized, norms, eps, *inputs):
        output = kernels.normalized_mixed_sum(inputs, weights, normalized, norms, eps)
        _setup_context(ctx, (inputs, weights, normalized, norms, eps), output)
        return output

    @staticmethod
    @once_differentiable("normalized_mixed_sum")
    def backward(ctx, grad, *unused):
        needs_weights, _, _, _, *needs_inputs = ctx.needs_input_grad
        of_weights, *of_inputs = _gradients(ctx, grad, needs_inputs, needs_weights)
        return of_weights, None, None, None, *of_inputs


def _setup_context(ctx, inputs, output) -> None:
    tensors, weights, normalized, norms, _ = inputs
    _, batch_norms = output
    ctx.mark_non_differentiable(batch_norms)
    ctx.set_materialize_grads(False)
    ctx.normalized, ctx.training = normalized, norms is None and any(normalized)
    used = batch_norms if norms is None else norms
    reads = ctx.training or weights.requires_grad
    ctx.save_for_backward(weights, used, *(tensors if reads else ()))


def _gradients(ctx, grad, needs_inputs: list[bool], needs_weights: bool):
    """Return the gradients of weights and of every input, None where not needed."""
    if grad is None:
        return [None] * (1 + len(needs_inputs))
    weights, norms, *inputs = ctx.saved_tensors
    grads = iter(
        kernels.normalized_mixed_sum_backward(
            grad, inputs, weights, ctx.normalized, norms, ctx.training, needs_inputs, needs_weights
        )
    )
    of_inputs = [next(grads) if needed else None for needed in needs_inputs]
    return next(grads) if needs_weights else None, *of_inputs


@once_differentiable("normalized_mixed_sum")
def _backward(ctx, grad, *unused):
    needs_inputs, needs_weights = ctx.needs_input_grad[:2]
    of_weights, *of_inputs = _gradients(ctx, grad, list(needs_inputs), needs_weights)
    return of_inputs, of_weights, None, None, None


torch.library.register_autograd(
    "adarts_ext::normalized_mixed_sum", _backward, setup_context=_setup_context
)


@register_flop_formula(kernels.normalized_mixed_sum)
def _flops(input_shapes, *args, out_shape=None, **kwargs) -> int:
    """Count the sum alone: torch's counter does not count the plain BatchNorm either."""
    return 2 * len(input_shapes) * input_shapes[0].numel()


@register_flop_formula(kernels.normalized_mixed_sum_backward)
def _flops_backward(
    grad_shape,
    input_shapes,
    weights_shape,
    normalized,
    norms_shape,
    training,
    needs_inputs,
    needs_weights,
    **kwargs,
) -> int:
    return grad_shape.numel() * (sum(needs_inputs) + 2 * len(needs_inputs) * int(needs_weights))
