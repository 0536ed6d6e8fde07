"""What the layers of DARTS-family code are, told by their structure: not by name or import path.

A module is described by its leaves, the modules below it that have no children, in the order in
which they were registered. That is necessary, not sufficient: whether it also computes what its
structure suggests is tried out by :mod:`adarts_ext.compat.probe`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Candidate:
    """A candidate operation: its primitive, or None where it is not one; stride and channels.

    ``channels`` is None where it has no layer that would tell.
    """

    primitive: str | None
    stride: int | None = None
    channels: int | None = None


def leaves(module: nn.Module) -> list[nn.Module]:
    """Return the modules without children below ``module`` (or itself), each once, in order."""
    return [part for part in module.modules() if not part._modules]


def candidate(module: nn.Module) -> Candidate:
    """Return which primitive a candidate operation is.

    Example:
        >>> candidate(nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.BatchNorm2d(4, affine=False)))
        Candidate(primitive='max_pool_3x3', stride=2, channels=4)
        >>> candidate(nn.Conv2d(4, 4, 3))
        Candidate(primitive=None, stride=None, channels=None)
    """
    layers = leaves(module)
    if layers == [module]:
        return _without_layers(module)
    return _pooling(layers) or factorized_reduction(layers) or _separable(layers) or Candidate(None)


def _without_layers(module: nn.Module) -> Candidate:
    """Recognise ``none`` and ``skip_connect``, which have no layers, by what they do."""
    if type(module) is nn.Identity:
        return Candidate("skip_connect", 1)
    if has_state(module) or type(module).__module__.startswith("torch.nn."):
        return Candidate(None)
    x = torch.arange(1, 33, dtype=torch.float64).view(1, 2, 4, 4)
    try:
        with torch.no_grad():
            y = module(x)
    except Exception:  # whatever a module of other code raises, it is not one of the two
        return Candidate(None)
    if not isinstance(y, Tensor):
        return Candidate(None)
    if y.shape == x.shape and torch.equal(y, x):
        return Candidate("skip_connect", 1)
    strides = {tuple(x.shape): 1, (1, 2, 2, 2): 2}
    if tuple(y.shape) in strides and not y.any():
        return Candidate("none", strides[tuple(y.shape)])
    return Candidate(None)


def _pooling(layers: list[nn.Module]) -> Candidate | None:
    if len(layers) != 2 or not is_norm(layers[1]):
        return None
    pool, norm = layers
    geometry = tuple(
        _pair(getattr(pool, name, None)) for name in ("kernel_size", "padding", "dilation")
    )
    stride = _pair(getattr(pool, "stride", None))
    if stride not in ((1, 1), (2, 2)) or getattr(pool, "ceil_mode", True):
        return None
    if type(pool) is nn.MaxPool2d and geometry == ((3, 3), (1, 1), (1, 1)):
        return Candidate("max_pool_3x3", stride[0], norm.num_features)
    inside = type(pool) is nn.AvgPool2d and not pool.count_include_pad
    if inside and pool.divisor_override is None and geometry[:2] == ((3, 3), (1, 1)):
        return Candidate("avg_pool_3x3", stride[0], norm.num_features)
    return None


def factorized_reduction(layers: list[nn.Module]) -> Candidate | None:
    """Recognise a factorized reduction: its convolutions have stride 2 or get every other pixel."""
    layers = without_relus(layers)
    if len(layers) != 3:
        return None
    first, second, norm = layers
    if not all(is_convolution(layer, 1) and layer.groups == 1 for layer in (first, second)):
        return None
    same = first.weight.shape == second.weight.shape and first.stride == second.stride
    if not same or not is_norm(norm, 2 * first.out_channels):
        return None
    return Candidate("skip_connect", 2, norm.num_features)


def _separable(layers: list[nn.Module]) -> Candidate | None:
    layers = without_relus(layers)
    if len(layers) not in (3, 6):
        return None
    halves = [layers[i : i + 3] for i in range(0, len(layers), 3)]
    kernels, strides, channels = set(), [], set()
    for depthwise, pointwise, norm in halves:
        if type(depthwise) is not nn.Conv2d:
            return None
        kernel, count = depthwise.kernel_size[0], depthwise.out_channels
        dilation = 2 if len(halves) == 1 else 1
        fits = (
            kernel in (3, 5)
            and is_convolution(depthwise, kernel, dilation * (kernel // 2), dilation)
            and is_convolution(pointwise, 1)
            and depthwise.stride in ((1, 1), (2, 2))
            and pointwise.stride == (1, 1)
            and depthwise.groups == count
            and pointwise.groups == 1
            and pointwise.weight.shape[:2] == (count, count)  # torch does not read in_channels
            and is_norm(norm, count)
        )
        if not fits:
            return None
        kernels.add(kernel)
        strides.append(depthwise.stride[0])
        channels.add(count)
    if len(kernels) != 1 or len(channels) != 1 or any(stride != 1 for stride in strides[1:]):
        return None
    (kernel,), (count,) = kernels, channels
    family = "sep" if len(halves) == 2 else "dil"
    return Candidate(f"{family}_conv_{kernel}x{kernel}", strides[0], count)


def without_relus(layers: list[nn.Module]) -> list[nn.Module]:
    """Leave out ReLUs, which code may call as functions too: a trial tells where they are."""
    return [layer for layer in layers if type(layer) is not nn.ReLU]


def is_convolution(layer: nn.Module, kernel: int, padding: int = 0, dilation: int = 1) -> bool:
    """Return whether a layer is a convolution of this form, without bias."""
    return (
        type(layer) is nn.Conv2d
        and layer.kernel_size == (kernel, kernel)
        and layer.padding == (padding, padding)
        and layer.dilation == (dilation, dilation)
        and layer.padding_mode == "zeros"
        and layer.bias is None
    )


def is_norm(layer: nn.Module, channels: int | None = None) -> bool:
    """Return whether a layer is a BatchNorm as search networks have them: without weights."""
    return (
        type(layer) is nn.BatchNorm2d
        and not layer.affine
        and layer.track_running_stats
        and layer.momentum is not None
        and channels in (None, layer.num_features)
    )


def has_state(module: nn.Module | None) -> bool:
    """Return whether a module has parameters or buffers."""
    if module is None:
        return False
    return any(True for _ in module.parameters()) or any(True for _ in module.buffers())


def _pair(value: object) -> object:
    return (value, value) if isinstance(value, int) else value
