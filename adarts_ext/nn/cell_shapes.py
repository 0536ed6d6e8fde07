"""How the cells of a network follow one another, in the search and after it."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn


class CellShape(NamedTuple):
    """Channels of one cell and of the two it takes its inputs from."""

    previous_previous_channels: int
    previous_channels: int
    channels: int
    reduction: bool
    reduction_previous: bool


def cell_shapes(
    init_channels: int, layers: int, normal_nodes: int, reduce_nodes: int
) -> list[CellShape]:
    """Lay out the cells as DARTS does (arXiv 1806.09055): two reductions, at 1/3 and 2/3.

    Cells ``layers // 3`` and ``2 * layers // 3`` are reduction cells, which double the channels and
    halve height and width.

    Args:
        init_channels: Channels of the first cell's nodes; the stem gives three times as many.
        layers: Number of cells.
        normal_nodes: Nodes that a normal cell concatenates.
        reduce_nodes: Nodes that a reduction cell concatenates.

    Example:
        >>> [shape.channels for shape in cell_shapes(16, 8, 4, 4)]
        [16, 16, 32, 32, 32, 64, 64, 64]
    """
    shapes = []
    previous_previous = previous = 3 * init_channels
    channels, reduction_previous = init_channels, False
    for position in range(layers):
        reduction = position in (layers // 3, 2 * layers // 3)
        channels *= 2 if reduction else 1
        shapes.append(
            CellShape(previous_previous, previous, channels, reduction, reduction_previous)
        )
        nodes = reduce_nodes if reduction else normal_nodes
        previous_previous, previous = previous, nodes * channels
        reduction_previous = reduction
    return shapes


def build_stem(in_channels: int, init_channels: int) -> nn.Sequential:
    """Make the layer before the first cell: 3x3 convolution to 3 * init_channels, BatchNorm."""
    return nn.Sequential(
        nn.Conv2d(in_channels, 3 * init_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(3 * init_channels),
    )
