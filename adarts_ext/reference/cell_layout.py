"""The structure of a search cell as its operators take it, and what they return."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

#: Of each BatchNorm and channel: mean, 1 / sqrt(variance + eps), unbiased variance.
STATISTICS = 3


class CellLayout(NamedTuple):
    """How a cell is built: what of it is neither tensor nor learnt.

    ``batch`` is N, ``stride`` (1 or 2) that of the edges from the cell's inputs, ``selected`` the
    number c of channels that the candidates of an edge see, ``hidden`` the hidden units of its
    attention, or 0 for none. ``sources`` and ``targets`` list the edges, ordered by the node they
    enter: the state each leaves (inputs first, then nodes) and the node it enters (counted from 0).
    ``shuffle`` interleaves the channels of every edge's output in C / c groups, as PC-DARTS does.

    Example:
        >>> layout = CellLayout(64, 2, 4, 8, 2, (0, 1, 0, 1, 2), (0, 0, 1, 1, 1), False)
        >>> layout.edge_strides(inputs=2)
        [2, 2, 2, 2, 1]
    """

    batch: int
    stride: int
    selected: int
    hidden: int
    nodes: int
    sources: tuple[int, ...]
    targets: tuple[int, ...]
    shuffle: bool

    def edge_strides(self, inputs: int) -> list[int]:
        """Return the stride of every edge of a cell with that many inputs."""
        return [self.stride if source < inputs else 1 for source in self.sources]

    def weight_shapes(self, inputs: int, channels: int) -> list[tuple[int, ...]]:
        """Return the shapes of all weights in order: see :func:`adarts_ext.ops.search_cell`."""
        c = self.selected
        pointwise = (c, c, 1, 1)
        three, five = ((c, 1, size, size) for size in (3, 5))
        shapes = [(self.hidden, channels, 1, 1), (channels, self.hidden, 1, 1)]
        shapes = shapes if self.hidden else []
        shapes += [*[three, pointwise] * 2, *[five, pointwise] * 2, three, pointwise]
        shapes += [five, pointwise]
        of_stride = {1: shapes, 2: [*shapes, *[(c // 2, c, 1, 1)] * 2]}
        return [shape for stride in self.edge_strides(inputs) for shape in of_stride[stride]]

    def count_norms(self, inputs: int) -> int:
        """Return the number of BatchNorms of all edges."""
        return sum(9 if stride == 2 else 8 for stride in self.edge_strides(inputs))


class CellOutput(NamedTuple):
    """Nodes ``(blocks, nodes * C, H, W, 16)``, batch statistics and the channels selected."""

    nodes: Tensor
    norms: Tensor  # (norms, 3, c), or no elements where statistics were given
    index: Tensor  # (edges, c)
