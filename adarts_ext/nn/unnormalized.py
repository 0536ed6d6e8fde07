"""Candidates whose last layer is a BatchNorm, summed without computing that layer by itself.

The output before the BatchNorm is all the sum needs and all that is kept of it, see
:func:`adarts_ext.ops.normalized_mixed_sum`.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from adarts_ext import ops
from adarts_ext.nn.batch_norms import (
    given_statistics,
    reason_against_norms,
    update_running_statistics,
)
from adarts_ext.nn.operations import DilConv, FactorizedReduce, ReLUConvBN, SepConv
from adarts_ext.nn.unchanged import HOOKS

_WITH_OP = (ReLUConvBN, DilConv, SepConv)  # whose forward is that of their Sequential `op`


def last_norm(module: nn.Module) -> nn.BatchNorm2d | None:
    """Return the BatchNorm that ends a module, if it can be taken out of it.

    Args:
        module: An ``nn.Sequential`` or a module of :mod:`adarts_ext.nn.operations`.

    Returns:
        A BatchNorm2d that has no scale and shift and keeps running statistics with a momentum; None
        where the last layer is another, or hooks would not see that it is left out.

    Example:
        >>> module = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4, affine=False))
        >>> last_norm(module) is module[1]
        True
        >>> last_norm(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4)))  # it has a scale and a shift
    """
    *around, norm = _around_last_layer(module)
    if type(norm) is not nn.BatchNorm2d or norm.weight is not None or norm.bias is not None:
        return None
    if not norm.track_running_stats or norm.running_mean is None or norm.momentum is None:
        return None
    left_out = [*around, norm]
    hooked = any(getattr(part, hooks) for part in left_out for hooks in HOOKS)
    return None if hooked or any("forward" in part.__dict__ for part in left_out) else norm


def before_last_norm(module: nn.Module, x: Tensor) -> Tensor:
    """Compute what a module that has a :func:`last_norm` gives to it.

    Args:
        module: The module.
        x: Its input.

    Example:
        >>> import torch
        >>> module = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(1, affine=False))
        >>> before_last_norm(module, torch.tensor([-1.0, 3.0]).reshape(2, 1, 1, 1)).flatten()
        tensor([0., 3.])
    """
    if isinstance(module, FactorizedReduce):
        return module.before_norm(x)
    layers = module.op if isinstance(module, _WITH_OP) else module
    for layer in list(layers)[:-1]:
        x = layer(x)
    return x


def mix(operations: Sequence[nn.Module], x: Tensor, weights: Tensor) -> Tensor:
    """Sum the outputs of candidates, each times its weight.

    ``sum_i weights[i] * operations[i](x)`` (DARTS, arXiv 1806.09055, equation 2, with the softmax
    already taken), with the BatchNorms that end candidates taken into the sum, if they are all in
    the same mode. Outputs, gradients and running statistics are those of plain calls.

    Args:
        operations: At least one module, each from x to the same shape (N, C, H, W).
        x: Their input, float32, float64, bfloat16 or float16. Outputs of other dtypes, as autocast
            makes them, are converted to that of x.
        weights: One weight per operation.

    Example:
        >>> import torch
        >>> norm = nn.BatchNorm2d(1, affine=False)
        >>> x = torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1)
        >>> mix([nn.Sequential(norm), nn.Identity()], x, torch.tensor([0.5, 2.0])).flatten()
        tensor([1.5000, 6.5000])
        >>> norm.running_mean
        tensor([0.2000])
    """
    last = [last_norm(operation) for operation in operations]
    norms = [norm for norm in last if norm is not None]
    if not norms or reason_against_norms(norms):
        return ops.mixed_sum([operation(x).to(x.dtype) for operation in operations], weights)
    outputs = [
        operation(x) if norm is None else before_last_norm(operation, x)
        for operation, norm in zip(operations, last, strict=True)
    ]
    result = ops.normalized_mixed_sum(
        [output.to(x.dtype) for output in outputs],
        weights,
        [norm is not None for norm in last],
        given_statistics(norms),
        norms[0].eps,
    )
    if norms[0].training:
        update_running_statistics([(norms, result.norms)])
    return result.out


def _around_last_layer(module: nn.Module) -> list[nn.Module | None]:
    """Return the modules that are not called where the last layer is left out, that one last."""
    if type(module) is FactorizedReduce:
        return [module, module.bn]
    if type(module) in _WITH_OP:
        return [module, *_around_last_layer(module.op)]
    if type(module) is nn.Sequential and len(module):
        return [module, module[-1]]
    return [None]
