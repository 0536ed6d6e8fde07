"""What the cells and mixed operations of other code are, told by the layers they have."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from torch import nn

from adarts_ext.compat.candidates import (
    Candidate,
    candidate,
    factorized_reduction,
    has_state,
    is_convolution,
    is_norm,
    leaves,
    without_relus,
)

LISTS = (nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class MixedOpStructure:
    """Where a mixed operation has its parts, and what they are.

    Attributes:
        operations: Name of the child that is the list of candidates.
        candidates: The candidates in their order.
        attention: Name of the child that is a channel attention, or None.
        channels: Channels C of the input, where the attention tells them.
        besides: Names of the other children that have parameters or buffers.
    """

    operations: str
    candidates: tuple[Candidate, ...]
    attention: str | None
    channels: int | None
    besides: tuple[str, ...] = ()

    def operations_of(self, mixed_op: nn.Module) -> list[nn.Module]:
        """Return the candidates of a mixed operation, in their order."""
        return _members(mixed_op._modules[self.operations])

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
        """Whether the fused kernels know all candidates, each of them once; some may be missing."""
        return None not in self.primitives and len(set(self.primitives)) == len(self.primitives)


@dataclass(frozen=True)
class CellStructure:
    """Where a search cell has its parts.

    Attributes:
        preprocess: Names of the two children that fit the inputs.
        edges: Name of the child that is the list of mixed operations.
        steps: Number of nodes.
        by_node: Whether that is a list of one list for each node.
    """

    preprocess: tuple[str, str]
    edges: str
    steps: int
    by_node: bool = False

    def mixed_ops(self, cell: nn.Module) -> list[nn.Module]:
        """Return the mixed operations of a cell, node by node."""
        return _flat(cell._modules[self.edges])

    def alphas_by_node(self, candidates: int) -> list[tuple[int, int]]:
        """Return the shapes of alphas that come as a list of one tensor for each node."""
        return [(2 + node, candidates) for node in range(self.steps)]


def mixed_op(module: nn.Module) -> MixedOpStructure | None:
    """Describe a mixed operation, or return None for anything else."""
    lists = [
        (name, child)
        for name, child in module._modules.items()
        if isinstance(child, LISTS) and len(child) > 1
    ]
    if len(lists) != 1:
        return None
    ((name, operations),) = lists
    candidates = tuple(map(candidate, _members(operations)))
    if all(known.primitive is None for known in candidates):
        return None
    others = [key for key, child in module._modules.items() if key != name and has_state(child)]
    attention, channels = None, None
    attentions = [key for key in others if attention_convolutions(module._modules[key])]
    if attentions:
        attention = attentions[0]
        channels = attention_convolutions(module._modules[attention])[0].weight.size(1)
    besides = tuple(key for key in others if key != attention)
    if besides and len({known.primitive for known in candidates} - {None}) < 2:
        return None
    return MixedOpStructure(name, candidates, attention, channels, besides)


def cell(module: nn.Module, mixed_ops: dict[nn.Module, object]) -> CellStructure | None:
    """Describe a search cell, or return None; ``mixed_ops`` are the mixed operations known."""
    lists = [
        name
        for name, child in module._modules.items()
        if isinstance(child, LISTS) and len(child) and all(m in mixed_ops for m in _flat(child))
    ]
    others = [key for key, child in module._modules.items() if has_state(child)]
    if len(lists) != 1 or len(others) != 3:
        return None
    (name,) = lists
    edges, steps = len(_flat(module._modules[name])), 1
    while steps * (steps + 3) // 2 < edges:
        steps += 1
    if steps * (steps + 3) // 2 != edges:
        return None
    children = _members(module._modules[name])
    by_node = any(isinstance(child, LISTS) for child in children)
    if by_node and list(map(len, children)) != [*range(2, 2 + steps)]:
        return None
    first, second = (key for key in others if key != name)
    return CellStructure((first, second), name, steps, by_node)


def _members(modules: nn.Module) -> list[nn.Module]:
    """Return the modules of a list or a dictionary, in order."""
    return list(modules._modules.values())


def _flat(modules: nn.Module) -> list[nn.Module]:
    """Return the modules of a list or a dictionary, and those of the lists in it."""
    nested = (
        _members(child) if isinstance(child, LISTS) else [child] for child in _members(modules)
    )
    return list(itertools.chain.from_iterable(nested))


def attention_convolutions(module: nn.Module | None) -> list[nn.Conv2d]:
    """Return the two convolutions of a channel attention, or nothing."""
    if module is None:
        return []
    layers = [layer for layer in leaves(module) if has_state(layer)]
    if len(layers) != 2 or not all(is_convolution(layer, 1) for layer in layers):
        return []
    first, second = layers
    fits = first.weight.shape[:2] == second.weight.shape[1::-1]
    return layers if fits and first.groups == second.groups == 1 else []


def preprocess_stride(module: nn.Module) -> int | None:
    """Return 1 for ReLU-convolution-BatchNorm, 2 for a factorized reduction, None for others."""
    layers = without_relus(leaves(module))
    if factorized_reduction(layers):
        return 2
    is_one = (
        len(layers) == 2
        and is_convolution(layers[0], 1)
        and layers[0].stride == (1, 1)
        and layers[0].groups == 1
        and is_norm(layers[1], layers[0].out_channels)
    )
    return 1 if is_one else None


def _single(values: object) -> int | None:
    told = {value for value in values if value is not None}
    return told.pop() if len(told) == 1 else None
