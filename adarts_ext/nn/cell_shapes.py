"""How the cells of a network follow one another, in the search and after it."""

from __future__ import annotations

from typing import NamedTuple


class CellShape(NamedTuple):
    """Channels of one cell and of the two it takes its inputs from."""

    previous_previous_channels: int
    previous_channels: int
    channels: int
    reduction: bool
    reduction_previous: bool


def cell_shapes(
    init_channels: int,
    layers: int,
    normal_nodes: int,
    reduce_nodes: int,
    stem: str = "cifar",
    stem_channels: int | None = None,
) -> list[CellShape]:
    """Lay out the cells as DARTS does (arXiv 1806.09055): two reductions, at 1/3 and 2/3.

    Cells ``layers // 3`` and ``2 * layers // 3`` are reduction cells, which double the channels and
    halve height and width.

    Args:
        init_channels: Channels of the first cell's nodes.
        layers: Number of cells.
        normal_nodes: Nodes that a normal cell concatenates.
        reduce_nodes: Nodes that a reduction cell concatenates.
        stem: One of :data:`adarts_ext.nn.stem.STEMS`; after ``"imagenet"`` the first cell stands as
            after a reduction cell.
        stem_channels: Channels that the stem gives, by default three times ``init_channels``.

    Example:
        >>> [shape.channels for shape in cell_shapes(16, 8, 4, 4)]
        [16, 16, 32, 32, 32, 64, 64, 64]
    """
    shapes = []
    previous_previous = previous = stem_channels or 3 * init_channels
    channels, reduction_previous = init_channels, stem == "imagenet"
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
