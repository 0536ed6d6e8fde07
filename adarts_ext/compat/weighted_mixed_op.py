"""Mixed operations with candidates of their own: the BatchNorms and the weighted sum, fused."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from adarts_ext import ops
from adarts_ext.compat.candidates import leaves
from adarts_ext.compat.fused_mixed_op import FusedMixedOp
from adarts_ext.compat.structure import MixedOpStructure, attention_convolutions
from adarts_ext.nn.recompute import recompute
from adarts_ext.nn.unchanged import constant_when_compiled
from adarts_ext.nn.unnormalized import mix

_RELUS = {"sep": 2, "dil": 1}


class WeightedMixedOp(FusedMixedOp):
    """How a mixed operation is computed whose candidates the fused kernels do not all know.

    The candidates run as they are, up to the BatchNorm that ends them; the rest is
    :func:`adarts_ext.ops.normalized_mixed_sum`. Around it are the operators of the channel
    selection, as in :class:`adarts_ext.nn.PartialMixedOp`.

    Args:
        parts: Where the mixed operation has its parts.
        channels: Channels C of its input.
        memory: ``"store"`` or ``"recompute"``.
        reason: Why the fused kernels do not serve it.
        inside: Whether a candidate of its own that holds one ``nn.Sequential`` computes just that.
    """

    level = "weighted sum"
    may_skip = False

    def __init__(
        self, parts: MixedOpStructure, channels: int, memory: str, reason: str, inside: bool
    ) -> None:
        super().__init__(parts, channels, memory)
        self.reason = reason
        self.inside = inside

    def settings(self) -> tuple[object, ...]:
        """Return what the plan does beyond what the structure of its module says."""
        return self.store, self.inside

    def find(self, module: nn.Module) -> list[nn.Module]:
        """Return the candidates but ``none``, as chains of layers where they are known to be."""
        return [
            _chain(operation, known.primitive, self.inside)
            for operation, known in zip(
                self.parts.operations_of(module), self.parts.candidates, strict=True
            )
            if known.primitive != "none"
        ]

    def reason_against_input(self, x: Tensor) -> str | None:
        """Return why the operators do not take a feature map, or None: any with values is taken."""
        return None if x.numel() and x.is_floating_point() else "the input has no numbers to sum"

    @constant_when_compiled
    def changed(self, module: nn.Module) -> str | None:
        """Return why the module is no longer what was accelerated, or None."""
        return self.watch.change(module)

    def __call__(self, module: nn.Module, x: Tensor, weights: Tensor) -> Tensor:
        """Compute the mixed operation."""
        if self.store:
            return self._compute(module, x, weights)

        def function(x: Tensor, weights: Tensor) -> Tensor:
            return self._compute(module, x, weights)

        return recompute(function, [module], x, weights, random=True)

    def _compute(self, module: nn.Module, x: Tensor, weights: Tensor) -> Tensor:
        count, stride = self.parts.selected, self.parts.stride
        if self.kind.selection == "all":
            return self._mix(module, x, weights)
        if self.kind.selection == "attention":
            layers = attention_convolutions(module._modules[self.parts.attention])
            scale = ops.channel_attention(x, *(layer.weight for layer in layers))
            index = ops.select_channels(scale, count)
            mixed = self._mix(module, ops.gather_channels(x, index, scale), weights)
            return ops.scatter_channels(x, index, mixed, scale, stride)
        mixed = self._mix(module, x[:, :count], weights)
        passing = x[:, count:]
        if stride == 2:
            passing = functional.max_pool2d(passing, 2)
        y = torch.cat([mixed, passing], dim=1)
        return y.unflatten(1, (-1, count)).transpose(1, 2).flatten(1, 2)

    def _mix(self, module: nn.Module, x: Tensor, weights: Tensor) -> Tensor:
        used = [i for i, name in enumerate(self.parts.primitives) if name != "none"]
        return mix(self.layers_of(module), x, weights[used])


def _chain(operation: nn.Module, primitive: str | None, inside: bool) -> nn.Module:
    """Return the layers of a candidate one after another, where that is what it computes."""
    if primitive is not None:
        layers = leaves(operation)
        relus = sum(type(layer) is nn.ReLU for layer in layers)  # it may call others as functions
        chained = primitive != "skip_connect" and relus == _RELUS.get(primitive[:3], 0)
        return nn.Sequential(*layers) if chained else operation
    children = list(operation.children())
    if inside and len(children) == 1 and type(children[0]) is nn.Sequential:
        return children[0]
    return operation
