"""The structure of a search cell as its operators take it, and what they return."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from adarts_ext.genotype import PRIMITIVES

#: Of each BatchNorm and channel: mean, 1 / sqrt(variance + eps), unbiased variance.
STATISTICS = 3

ALL = (1 << len(PRIMITIVES)) - 1  # of the candidates of an edge are active


#: BatchNorms of a candidate; those of skip_connect depend on the stride.
NORMS = {
    "max_pool_3x3": 1,
    "avg_pool_3x3": 1,
    "sep_conv_3x3": 2,
    "sep_conv_5x5": 2,
    "dil_conv_3x3": 1,
    "dil_conv_5x5": 1,
}


class CellLayout(NamedTuple):
    """How a cell is built: what of it is neither tensor nor learnt.

    ``batch`` is N, ``stride`` (1 or 2) that of the edges from the cell's inputs, ``selected`` the
    number c of channels that the candidates of an edge see, ``hidden`` the hidden units of its
    attention by CBAM, or 0, and ``taps``, odd, those of its attention by a convolution over the
    channels (ECA), or 0; one of them at the most. ``sources`` and ``targets`` list the edges,
    ordered by the node they enter: the state each leaves (inputs first, then nodes) and the node it
    enters (counted from 0). ``shuffle`` interleaves the channels of every edge's output in C / c
    groups, as PC-DARTS does.
    ``active`` has an integer for each edge, whose bit o says whether candidate o, in the order of
    PRIMITIVES, takes part; empty, all of them do. A candidate that is not active has neither
    weights nor statistics, and adds nothing.

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
    active: tuple[int, ...] = ()
    taps: int = 0

    @property
    def attends(self) -> bool:
        """Whether the edges have an attention."""
        return self.hidden > 0 or self.taps > 0

    def attention_shapes(self, channels: int) -> list[tuple[int, ...]]:
        """Return the shapes of the weights of an edge's attention."""
        if self.taps:
            return [(1, 1, self.taps)]
        return [(self.hidden, channels, 1, 1), (channels, self.hidden, 1, 1)][: 2 * self.attends]

    def edge_strides(self, inputs: int) -> list[int]:
        """Return the stride of every edge of a cell with that many inputs."""
        return [self.stride if source < inputs else 1 for source in self.sources]

    def weight_shapes(self, inputs: int, channels: int) -> list[tuple[int, ...]]:
        """Return the shapes of all weights in order: see :func:`adarts_ext.ops.search_cell`."""
        c = self.selected
        pointwise = (c, c, 1, 1)
        three, five = ([(c, 1, size, size), pointwise] for size in (3, 5))
        candidates = {
            "sep_conv_3x3": three * 2,
            "sep_conv_5x5": five * 2,
            "dil_conv_3x3": three,
            "dil_conv_5x5": five,
        }
        shapes = []
        for stride, active in self._edges(inputs):
            skip = [(c // 2, c, 1, 1)] * 2 if stride == 2 else []
            shapes += self.attention_shapes(channels)
            for name, some in (candidates | {"skip_connect": skip}).items():
                shapes += some if is_active(active, name) else []
        return shapes

    def count_norms(self, inputs: int) -> int:
        """Return the number of BatchNorms of all edges."""
        return sum(self._count(inputs, NORMS))

    def count_stored(self, inputs: int) -> list[int]:
        """Return of every edge the number of BatchNorms whose input is kept: not of poolings."""
        return self._count(inputs, {name: NORMS[name] for name in NORMS if "pool" not in name})

    def edges(self) -> list[CellLayout]:
        """Return a layout for each edge, of that edge alone."""
        several = zip(self.sources, self.targets, self.edge_active(), strict=True)
        return [
            self._replace(sources=(source,), targets=(target,), active=(active,))
            for source, target, active in several
        ]

    def edge_active(self) -> tuple[int, ...]:
        """Return the active candidates of every edge, where ``active`` is empty too."""
        return self.active or (ALL,) * len(self.sources)

    def _count(self, inputs: int, norms: dict[str, int]) -> list[int]:
        counts = []
        for stride, active in self._edges(inputs):
            of_edge = norms | {"skip_connect": stride - 1}
            counts.append(sum(of_edge[name] for name in of_edge if is_active(active, name)))
        return counts

    def _edges(self, inputs: int) -> Iterator[tuple[int, int]]:
        return zip(self.edge_strides(inputs), self.edge_active(), strict=True)


def is_active(active: int, name: str) -> bool:
    """Return whether the candidate ``name`` is one of an edge's active ones.

    Example:
        >>> is_active(0b1010, "max_pool_3x3"), is_active(0b1010, "avg_pool_3x3")
        (True, False)
    """
    return bool(active >> PRIMITIVES.index(name) & 1)


class CellOutput(NamedTuple):
    """Nodes ``(blocks, nodes * C, H, W, 16)``, batch statistics and the channels selected."""

    nodes: Tensor
    norms: Tensor  # (norms, 3, c), or no elements where statistics were given
    index: Tensor  # (edges, c)
