"""Mixed operations of other code, computed by the fused kernels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adarts_ext.compat.structure import MixedOpStructure
from adarts_ext.compat.swap import Computed, reason_against_weights
from adarts_ext.compat.watch import Watch, is_replica
from adarts_ext.genotype import PRIMITIVES
from adarts_ext.nn import fused
from adarts_ext.nn.batch_norms import reason_against_norms, update_running_statistics
from adarts_ext.nn.candidates import mask_of, nonzero_masks
from adarts_ext.nn.image_blocks import feature_map, lay_out
from adarts_ext.nn.unchanged import constant_when_compiled


class FusedMixedOp(Computed):
    """How a mixed operation is computed by the fused kernels.

    Args:
        parts: Where the mixed operation has its parts.
        channels: Channels C of its input.
        memory: ``"store"`` or ``"recompute"``, as in :class:`adarts_ext.nn.SearchCell`.
    """

    level = "mixed op"
    reason = ""
    arguments = 2  # the input and the weights of the candidates

    def __init__(self, parts: MixedOpStructure, channels: int, memory: str) -> None:
        self.parts = parts
        self.channels = channels
        self.store = memory == "store"
        self.layers: fused.Layers | None = None  # until attached

    def settings(self) -> tuple[object, ...]:
        """Return what the plan does beyond what the structure of its module says."""
        return (self.store,)

    def attach(self, module: nn.Module) -> None:
        """Remember the layers of the module that is computed."""
        self.watch = Watch(module)
        self.layers = self.find(module)

    def find(self, module: nn.Module) -> fused.Layers:
        """Return the layers below ``module`` in the kernels' order."""
        return self.by_candidate(module).active(self.mask)

    def by_candidate(self, module: nn.Module) -> fused.EdgeLayers:
        """Return the layers below ``module``, candidate by candidate."""
        operations = self.parts.operations_of(module)
        operations = dict(zip(self.parts.primitives, operations, strict=True))
        attention = self.parts.attention
        return fused.EdgeLayers(operations, module._modules[attention] if attention else None)

    @property
    def mask(self) -> int:
        """The candidates that there are, as :class:`adarts_ext.ops.CellLayout` has them."""
        return mask_of(self.parts.primitives)

    @property
    def kind(self) -> fused.EdgeKind:
        """What the fused kernels, and the cell around it, have to know of it."""
        selected = self.parts.selected
        selection = "all" if selected == self.channels else "first"
        if self.parts.attention:
            selection = "attention"
        return fused.EdgeKind(self.channels, selected, selection, self.parts.stride)

    def arrange(self, weights: Tensor) -> Tensor:
        """Bring the last axis of the candidates' weights into the order of PRIMITIVES."""
        own = self.parts.primitives
        if own == PRIMITIVES:
            return weights
        padded = torch.cat([weights, torch.zeros_like(weights[..., :1])], dim=-1)
        return padded[..., [own.index(name) if name in own else len(own) for name in PRIMITIVES]]

    def reason_not_fused(self, module: nn.Module, x: Tensor, weights: Tensor) -> str | None:
        """Return why these inputs have to go through the original code, or None."""
        if not isinstance(weights, Tensor) or weights.shape != (len(self.parts.candidates),):
            return "the weights are no tensor of one number for each candidate"
        return (
            reason_against_shape(x, self.channels, self.parts.stride)
            or self.reason_against_input(x)
            or self.changed(module)
            or reason_against_weights(self, weights)
        )

    def reason_against_input(self, x: Tensor) -> str | None:
        """Return why the kernels do not take a feature map of its dtype or device, or None."""
        return fused.reason_against_input(x)

    @constant_when_compiled
    def changed(self, module: nn.Module) -> str | None:
        """Return why the module is no longer what was accelerated, or None."""
        return self.watch.change(module) or reason_against_norms(self.layers_of(module).norms)

    def layers_of(self, module: nn.Module) -> fused.Layers:
        """Return the layers in the kernels' order, as they were found before where possible."""
        if self.layers is None or is_replica(module):
            return self.find(module)
        return self.layers

    def __call__(self, module: nn.Module, x: Tensor, weights: Tensor) -> Tensor:
        """Compute the mixed operation."""
        layers, alphas, active = self.layers_of(module), self.arrange(weights)[None], (self.mask,)
        if self.skips and not weights.all():
            active = nonzero_masks(alphas)
            layers = self.by_candidate(module).active(*active)
        states, updates = [lay_out(x)], []
        rest = alphas, None, self.store, updates
        y = fused.mix(self.kind, layers, states, [(0, 0)], *rest, active=active)
        update_running_statistics(updates)
        return feature_map(y)


def reason_against_shape(x: Tensor, channels: int, stride: int) -> str | None:
    """Return why something is no feature map of so many channels that a stride divides, or None."""
    if not isinstance(x, Tensor) or x.dim() != 4 or x.size(1) != channels:
        return f"the input has no shape (N, {channels}, H, W)"
    if x.size(2) % stride or x.size(3) % stride:
        return "the input has an odd height or width"
    return None


def widths(parts: MixedOpStructure) -> list[int]:
    """Return how many channels the input of a mixed operation may have, likeliest first."""
    if parts.selected is None:
        return []
    if parts.channels is not None:
        return [parts.channels] if parts.channels % parts.selected == 0 else []
    usual = (1, 4, 2, 8, 16)
    others = [proportion for proportion in range(3, 33) if proportion not in usual]
    return [parts.selected * proportion for proportion in (*usual, *others)]
