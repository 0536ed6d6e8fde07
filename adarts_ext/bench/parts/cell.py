"""The part ``cell``: one normal search cell of each stage and both reduction cells.

A pass runs forward and backward, with gradients of the inputs, weights, alphas and betas. The plain
cells take feature maps; ours take image blocks, as a network hands them from cell to cell. The
fewest bytes are those of reading the inputs twice and the gradient once, and of writing the output
and the gradients of the inputs.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from adarts_ext.bench import arms
from adarts_ext.bench.arms import ARMS, build_network
from adarts_ext.bench.groups import BASELINE, Group, Measured, Options, Size, not_measured
from adarts_ext.bench.parts.memory import kept_bytes
from adarts_ext.bench.passes import count_flops
from adarts_ext.bench.timing import interleave, stopwatch
from adarts_ext.nn.cell_shapes import CellShape, cell_shapes
from adarts_ext.nn.image_blocks import ImageBlocks, lay_out

NAMES = (BASELINE, "channels_last", "drop-in", "ours, store", "ours, recompute")
COUNTED = "ours, store"  # whose arithmetic stands for that of all arms


@functools.lru_cache(len(NAMES))
def _network(name: str, size: Size, device: str) -> nn.Module:
    """Build the network of an arm, once for all its cells."""
    return build_network(ARMS[name], size, device)


class CellPass:
    """A cell of an arm's supernet with its inputs; each call runs it forward and backward."""

    def __init__(self, name: str, size: Size, position: int, device: str) -> None:
        arm = ARMS[name]
        network = _network(name, size, device)
        self.cell = network.cells[position]
        kind = "reduce" if self.cell.reduction else "normal"
        self.weights = [
            getattr(network, f"{which}_{kind}").detach().softmax(-1).requires_grad_()
            for which in ("alphas", "betas")
        ]
        torch.manual_seed(1)
        self.inputs = [torch.randn(shape, device=device) for shape in input_shapes(size, position)]
        self.states: list[Tensor | ImageBlocks] = list(self.inputs)
        self.ours = arm.network == "ours"
        if self.ours:
            self.states = [lay_out(x) for x in self.inputs]
            self.inputs = [state.blocks for state in self.states]
        elif arm.channels_last:
            self.inputs = [x.to(memory_format=torch.channels_last) for x in self.inputs]
            self.states = list(self.inputs)
        for x in self.inputs:
            x.requires_grad_()
        self.needed = [*self.inputs, *self.weights, *self.cell.parameters()]
        self.gradient = torch.randn_like(self.forward())

    def forward(self) -> Tensor:
        """Run the cell."""
        out = self.cell(*self.states, *self.weights)
        return out.blocks if self.ours else out

    def __call__(self) -> None:
        """Run both passes."""
        torch.autograd.grad(self.forward(), self.needed, self.gradient)

    def fewest_bytes(self) -> int:
        """Bytes that both passes must move at the least."""
        return 3 * sum(x.nbytes for x in self.inputs) + 2 * self.gradient.nbytes

    def flops(self) -> int:
        """Floating point operations of both passes, as torch counts them."""
        count = count_flops(lambda: torch.autograd.backward(self.forward(), self.gradient))
        for x in self.needed:
            x.grad = None
        return count

    def kept_bytes(self) -> int:
        """Bytes that autograd keeps after a forward pass."""
        return kept_bytes(self.forward, [*self.needed, *self.cell.buffers()])


def input_shapes(size: Size, position: int) -> list[tuple[int, int, int, int]]:
    """Shapes (N, C, H, W) of the two inputs of a cell in the supernet.

    Example:
        >>> input_shapes(Size(), 3)
        [(64, 64, 32, 32), (64, 128, 16, 16)]
    """
    shapes = cell_shapes(size.channels, size.layers, arms.NODES, arms.NODES)
    side = size.image // 2 ** sum(shape.reduction for shape in shapes[:position])
    shape = shapes[position]
    before = 2 * side if shape.reduction_previous else side
    return [
        (size.batch, shape.previous_previous_channels, before, before),
        (size.batch, shape.previous_channels, side, side),
    ]


def chosen_cells(size: Size) -> dict[int, CellShape]:
    """Choose the last normal cell of each stage, and the reduction cells, by their position.

    Example:
        >>> {at: shape.channels for at, shape in chosen_cells(Size()).items()}
        {1: 16, 2: 32, 4: 32, 5: 64, 7: 64}
    """
    shapes = cell_shapes(size.channels, size.layers, arms.NODES, arms.NODES)
    last = {(shape.channels, shape.reduction): at for at, shape in enumerate(shapes)}
    return {at: shapes[at] for at in sorted(last.values())}


def group_name(size: Size, position: int) -> str:
    """Return the name of a cell.

    Example:
        >>> group_name(Size(), 2)
        'reduction cell, 64x32x32x32'
    """
    shape = chosen_cells(size)[position]
    kind = "reduction" if shape.reduction else "normal"
    n, _, side, _ = input_shapes(size, position)[1]
    return f"{kind} cell, {n}x{shape.channels}x{side}x{side}"


def measure(size: Size, position: int, options: Options) -> dict[str, Measured]:
    """Measure all arms of a cell."""
    passes, kept, found = {}, {}, {}
    for name in NAMES:
        try:
            made = CellPass(name, size, position, options.device)
            kept[name] = made.kept_bytes()
            passes[name] = made
        except Exception as error:
            found[name] = not_measured(error)
    work: dict[str, int] = {"bytes": 0, "flops": 0}
    if COUNTED in passes:
        counted = passes[COUNTED]
        work = {"bytes": counted.fewest_bytes(), "flops": counted.flops()}
    for name, seconds in interleave(passes, options.rounds, stopwatch(options.device)).items():
        found[name] = Measured(seconds, {**work, "kept_bytes": kept[name]})
    return found


def groups(options: Options) -> Iterator[Group]:
    """One group for each chosen cell, at the first of the batch sizes."""
    size = options.size(options.batches[0])
    for position in chosen_cells(size):
        call = functools.partial(measure, size, position, options)
        yield Group("cell", group_name(size, position), NAMES, call)
