"""What the modules of DARTS-family code are, told by their structure: not by name or import path.

A module is described by its leaves, the modules below it that have no children, in the order in
which they were registered. That is necessary, not sufficient: whether it also computes what its
structure suggests is tried out by :mod:`adarts_ext.compat.probe`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adarts_ext.genotype import PRIMITIVES


@dataclass(frozen=True)
class Candidate:
    """A candidate operation: its primitive, or None where it is not one; stride and channels.

    ``channels`` is None where it has no layer that would tell.
    """

    primitive: str | None
    stride: int | None = None
    channels: int | None = None


@dataclass(frozen=True)
class MixedOpStructure:
    """Where a mixed operation has its parts, and what they are.

    Attributes:
        operations: Name of the child that is the list of candidates.
        candidates: The candidates in their order.
        attention: Name of the child that is a channel attention, or None.
        channels: Channels C of the input, where the attention tells them.
    """

    operations: str
    candidates: tuple[Candidate, ...]
    attention: str | None
    channels: int | None

    @property
    def selected(self) -> int | None:
        """Channels of the candidates; None where they differ or cannot be told."""
        return _single(candidate.channels for candidate in self.candidates)

    @property
    def stride(self) -> int | None:
        """Stride of the candidates; None where they differ or cannot be told."""
        return _single(candidate.stride for candidate in self.candidates)

    @property
    def primitives(self) -> tuple[str | None, ...]:
        """The candidates' primitives in their order."""
        return tuple(candidate.primitive for candidate in self.candidates)

    @property
    def fits_kernels(self) -> bool:
        """Whether the fused kernels know all candidates: each once, ``none`` may be missing."""
        return set(self.primitives) | {"none"} == set(PRIMITIVES) and len(
            set(self.primitives)
        ) == len(self.primitives)


@dataclass(frozen=True)
class CellStructure:
    """Where a search cell has its parts.

    Attributes:
        preprocess: Names of the two children that fit the inputs.
        edges: Name of the child that is the list of mixed operations.
        steps: Number of nodes.
    """

    preprocess: tuple[str, str]
    edges: str
    steps: int


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
    return _pooling(layers) or _skip(layers) or _separable(layers) or Candidate(None)


def mixed_op(module: nn.Module) -> MixedOpStructure | None:
    """Describe a mixed operation, or return None for anything else."""
    lists = [
        (name, child)
        for name, child in module._modules.items()
        if isinstance(child, nn.ModuleList) and len(child) > 1
    ]
    if len(lists) != 1:
        return None
    ((name, operations),) = lists
    candidates = tuple(map(candidate, operations))
    if all(known.primitive is None for known in candidates):
        return None
    others = [key for key, child in module._modules.items() if key != name and _has_state(child)]
    attentions = [key for key in others if attention_convolutions(module._modules[key])]
    if attentions != others or len(attentions) > 1:
        return None
    attention, channels = None, None
    if attentions:
        (attention,) = attentions
        channels = attention_convolutions(module._modules[attention])[0].in_channels
    return MixedOpStructure(name, candidates, attention, channels)


def cell(module: nn.Module, mixed_ops: dict[nn.Module, object]) -> CellStructure | None:
    """Describe a search cell, or return None; ``mixed_ops`` are the mixed operations known."""
    lists = [
        name
        for name, child in module._modules.items()
        if isinstance(child, nn.ModuleList) and len(child) and all(m in mixed_ops for m in child)
    ]
    others = [key for key, child in module._modules.items() if _has_state(child)]
    if len(lists) != 1 or len(others) != 3:
        return None
    edges, steps = len(module._modules[lists[0]]), 1
    while steps * (steps + 3) // 2 < edges:
        steps += 1
    if steps * (steps + 3) // 2 != edges:
        return None
    first, second = (key for key in others if key != lists[0])
    return CellStructure((first, second), lists[0], steps)


def attention_convolutions(module: nn.Module | None) -> list[nn.Conv2d]:
    """Return the two convolutions of a channel attention, or nothing."""
    if module is None:
        return []
    layers = [layer for layer in leaves(module) if _has_state(layer)]
    if len(layers) != 2 or not all(_is_convolution(layer, 1) for layer in layers):
        return []
    first, second = layers
    fits = first.in_channels == second.out_channels and first.out_channels == second.in_channels
    return layers if fits and first.groups == second.groups == 1 else []


def preprocess_stride(module: nn.Module) -> int | None:
    """Return 1 for ReLU-convolution-BatchNorm, 2 for a factorized reduction, None for others."""
    layers = leaves(module)
    if _skip(layers):
        return 2
    is_one = (
        len(layers) == 3
        and type(layers[0]) is nn.ReLU
        and _is_convolution(layers[1], 1)
        and layers[1].stride == (1, 1)
        and layers[1].groups == 1
        and _is_norm(layers[2], layers[1].out_channels)
    )
    return 1 if is_one else None


def _without_layers(module: nn.Module) -> Candidate:
    """Recognise ``none`` and ``skip_connect``, which have no layers, by what they do."""
    if type(module) is nn.Identity:
        return Candidate("skip_connect", 1)
    if _has_state(module) or type(module).__module__.startswith("torch.nn."):
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
    if len(layers) != 2 or not _is_norm(layers[1]):
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


def _skip(layers: list[nn.Module]) -> Candidate | None:
    """Recognise a factorized reduction: its convolutions have stride 2 or get every other pixel."""
    if len(layers) != 4 or type(layers[0]) is not nn.ReLU:
        return None
    _, first, second, norm = layers
    if not all(_is_convolution(layer, 1) and layer.groups == 1 for layer in (first, second)):
        return None
    same = (first.in_channels, first.out_channels, first.stride) == (
        second.in_channels,
        second.out_channels,
        second.stride,
    )
    if not same or not _is_norm(norm, 2 * first.out_channels):
        return None
    return Candidate("skip_connect", 2, norm.num_features)


def _separable(layers: list[nn.Module]) -> Candidate | None:
    if len(layers) not in (4, 8):
        return None
    halves = [layers[i : i + 4] for i in range(0, len(layers), 4)]
    kernels, strides, channels = set(), [], set()
    for relu, depthwise, pointwise, norm in halves:
        kernel = getattr(depthwise, "kernel_size", (0, 0))[0]
        dilation = 2 if len(halves) == 1 else 1
        count = getattr(depthwise, "in_channels", None)
        fits = (
            type(relu) is nn.ReLU
            and kernel in (3, 5)
            and _is_convolution(depthwise, kernel, dilation * (kernel // 2), dilation)
            and _is_convolution(pointwise, 1)
            and depthwise.stride in ((1, 1), (2, 2))
            and pointwise.stride == (1, 1)
            and depthwise.groups == depthwise.out_channels == count
            and pointwise.groups == 1
            and pointwise.in_channels == pointwise.out_channels == count
            and _is_norm(norm, count)
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


def _is_convolution(layer: nn.Module, kernel: int, padding: int = 0, dilation: int = 1) -> bool:
    return (
        type(layer) is nn.Conv2d
        and layer.kernel_size == (kernel, kernel)
        and layer.padding == (padding, padding)
        and layer.dilation == (dilation, dilation)
        and layer.padding_mode == "zeros"
        and layer.bias is None
    )


def _is_norm(layer: nn.Module, channels: int | None = None) -> bool:
    return (
        type(layer) is nn.BatchNorm2d
        and not layer.affine
        and layer.track_running_stats
        and layer.momentum is not None
        and channels in (None, layer.num_features)
    )


def _has_state(module: nn.Module | None) -> bool:
    if module is None:
        return False
    return any(True for _ in module.parameters()) or any(True for _ in module.buffers())


def _pair(value: object) -> object:
    return (value, value) if isinstance(value, int) else value


def _single(values: object) -> int | None:
    told = {value for value in values if value is not None}
    return told.pop() if len(told) == 1 else None
