"""Mixed operations of other code, computed by the fused kernels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from adarts_ext.compat.structure import KERNEL_ORDER, MixedOpStructure
from adarts_ext.compat.swap import Computed
from adarts_ext.compat.watch import Watch, is_replica
from adarts_ext.genotype import PRIMITIVES
from adarts_ext.nn import fused
from adarts_ext.nn.built import constant_when_compiled
from adarts_ext.ops.search_cell import CellLayout


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
        operations = dict(
            zip(self.parts.primitives, module._modules[self.parts.operations], strict=True)
        )
        ordered = [operations[name] for name in KERNEL_ORDER if name in operations]
        if self.parts.attention:
            ordered.insert(0, module._modules[self.parts.attention])
        return fused.Layers.below(ordered)

    @property
    def selection(self) -> str:
        """How the channels are chosen: ``"attention"``, ``"first"`` or ``"all"``."""
        if self.parts.attention:
            return "attention"
        return "all" if self.parts.selected == self.channels else "first"

    def arrange(self, weights: Tensor) -> Tensor:
        """Bring the last axis of the candidates' weights into the order of PRIMITIVES."""
        own = self.parts.primitives
        if own == PRIMITIVES:
            return weights
        padded = torch.cat([weights, torch.zeros_like(weights[..., :1])], dim=-1)
        return padded[..., [own.index(name) if name in own else len(own) for name in PRIMITIVES]]

    def layout(
        self, layers: fused.Layers, batch: int, nodes: int, edges: Sequence[tuple[int, int]]
    ) -> CellLayout:
        """Describe a cell of such mixed operations; edges are (source, node)."""
        hidden = layers.convolutions[0].out_channels if self.parts.attention else 0
        sources, targets = zip(*edges, strict=True)
        stride, selected = self.parts.stride, self.parts.selected
        shuffled = self.selection == "first"
        return CellLayout(batch, stride, selected, hidden, nodes, sources, targets, shuffled)

    def index(self, edges: int, device: torch.device) -> Tensor | None:
        """Give the channels selected where no scores select them: (edges, c)."""
        if self.parts.attention:
            return None
        return torch.arange(self.parts.selected, device=device).expand(edges, -1)

    def unserved(self, module: nn.Module, x: Tensor, weights: Tensor) -> str | None:
        """Say why these inputs have to go through the original code, or None."""
        if not isinstance(weights, Tensor) or weights.shape != (len(self.parts.candidates),):
            return "the weights are no tensor of one number for each candidate"
        return (
            unfit(x, self.channels, self.parts.stride)
            or self.unserved_kernels(x)
            or self.changed(module)
        )

    def unserved_kernels(self, x: Tensor) -> str | None:
        """Say why the kernels do not take a feature map of its dtype or device, or None."""
        return fused.unserved(x)

    @constant_when_compiled
    def changed(self, module: nn.Module) -> str | None:
        """Say why the module is no longer what was accelerated, or None."""
        return self.watch.change(module) or fused.unserved_norms(self.layers_of(module).norms)

    def layers_of(self, module: nn.Module) -> fused.Layers:
        """Return the layers in the kernels' order, as they were found before where possible."""
        if self.layers is None or is_replica(module):
            return self.find(module)
        return self.layers

    def __call__(self, module: nn.Module, x: Tensor, weights: Tensor) -> Tensor:
        """Compute the mixed operation."""
        layers, alphas = self.layers_of(module), self.arrange(weights)[None]
        layout = self.layout(layers, x.size(0), 1, [(0, 0)])
        index, updates = self.index(1, x.device), []
        states = [fused.lay_out(x)]
        nodes = fused.mix(layers, states, alphas, None, layout, index, self.store, updates)
        fused.update_running_statistics(updates)
        return fused.feature_map(nodes)


def unfit(x: Tensor, channels: int, stride: int) -> str | None:
    """Say why something is no feature map of so many channels that a stride divides, or None."""
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
    return [parts.selected * proportion for proportion in (1, 4, 2, 8, 16)]
