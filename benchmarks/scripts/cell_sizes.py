"""Sizes of a fused search cell as its CUDA kernels divide it, and what a launch is."""

from __future__ import annotations

from dataclasses import dataclass

LANES, QUADS = 16, 4  # images of a block; threads of a pixel
FLOAT, DOUBLE = 4, 8  # bytes
NODES, INPUTS = 4, 2
EDGES = [(state, node) for node in range(NODES) for state in range(INPUTS + node)]


@dataclass(frozen=True)
class Launch:
    """One launch: its phase and kernel, its working thread blocks, and the work of all of them."""

    phase: str
    kernel: str
    blocks: int
    threads: int
    read: float  # bytes
    written: float
    flops: float


def divide_up(count: int, by: int) -> int:
    """Divide and round up."""
    return -(-count // by)


def power_of_two(count: int, limit: int) -> int:
    """Give the smallest power of two that is at least ``count``, at most ``limit``."""
    return min(limit, 1 << max(0, count - 1).bit_length())


@dataclass(frozen=True)
class CellSizes:
    """A search cell: ``side`` is that of its nodes, ``stride`` that of its inputs' edges.

    ``weights`` and ``inputs`` say whose gradients are asked for in backward.
    """

    batch: int
    channels: int
    side: int
    stride: int
    store: bool = True
    weights: bool = True
    inputs: tuple[bool, bool] = (True, True)
    proportion: int = 4

    @property
    def selected(self) -> int:
        return self.channels // self.proportion

    @property
    def passing(self) -> int:
        return self.channels - self.selected

    @property
    def hidden(self) -> int:
        return self.channels // 2

    @property
    def pixels(self) -> int:
        return self.side**2

    @property
    def blocks(self) -> int:
        return divide_up(self.batch, LANES)

    @property
    def values(self) -> int:
        """Values of one channel of a node."""
        return self.blocks * LANES * self.pixels

    @property
    def plane(self) -> int:
        """Bytes of one channel of a node."""
        return FLOAT * self.values

    @property
    def vector(self) -> int:
        """Bytes of one number for each image and channel."""
        return FLOAT * self.blocks * LANES * self.channels

    @property
    def tiles(self) -> int:
        wanted = max(64 // self.blocks, 1)
        return min(wanted, divide_up(self.pixels * self.selected * QUADS, 256))

    @property
    def parts(self) -> int:
        return self.blocks * self.tiles

    @property
    def team_groups(self) -> int:
        quads = divide_up(self.pixels, self.tiles) * QUADS
        return divide_up(self.selected, 128 // max(32, power_of_two(quads, 128)))

    def edge_stride(self, edge: tuple[int, int]) -> int:
        return self.stride if edge[0] < INPUTS else 1

    def edge_weights(self, stride: int) -> int:
        c = self.selected
        convolutions = 3 * c * (9 + c) + 3 * c * (25 + c)
        return 2 * self.hidden * self.channels + convolutions + (c * c if stride == 2 else 0)

    def totals(self, rows: int) -> int:
        """Bytes that one thread block reads to add up the parts of so many rows."""
        return self.parts * rows * DOUBLE

    def entering(self, node: int) -> list[int]:
        """The strides of the edges that enter a node."""
        return [self.edge_stride(edge) for edge in EDGES if edge[1] == node]

    def state_scale(self, state: int) -> int:
        """How many times as many pixels as a node a state has."""
        return self.stride**2 if state < INPUTS else 1
