"""What each launch of the preprocessing of a fused cell has to read, write and compute.

Counted as in cell_cost.py. At stride 2 it is FactorizedReduce, two convolutions that see a quarter
of the pixels each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cell_sizes import DOUBLE, FLOAT, LANES, QUADS, Launch, divide_up, power_of_two

BANDS = 4  # parts of a block of images in backward's sums


@dataclass(frozen=True)
class PreprocessCost:
    """A preprocessing from ``inputs`` to ``channels`` channels; ``side`` is that of its output."""

    batch: int
    inputs: int
    channels: int
    side: int
    stride: int
    weights: bool = True
    states: bool = True  # whether its input's gradient is asked for

    @property
    def blocks(self) -> int:
        return divide_up(self.batch, LANES)

    @property
    def pixels(self) -> int:
        return self.side**2

    @property
    def outs(self) -> int:
        """Output channels of one of the convolutions."""
        return self.channels // self.stride

    @property
    def values(self) -> int:
        return self.blocks * LANES * self.pixels

    @property
    def plane(self) -> int:
        return FLOAT * self.values

    def forward(self) -> Iterator[Launch]:
        """Give the launches of the forward pass."""
        c, p, v, s = self.channels, self.plane, self.values, self.stride
        at_once = 128 // power_of_two(divide_up(self.outs, 4), 128 // QUADS) // QUADS
        tiles = min(max(256 // self.blocks, 1), divide_up(self.pixels, at_once))
        parts = self.blocks * tiles
        sums = parts * 2 * c * DOUBLE
        yield Launch(
            "preprocess",
            "preprocess_kernel",
            parts * s,
            128,
            self.inputs * p * s,
            c * p + sums,
            c * v * (2 * self.inputs + 4),
        )
        blocks = divide_up(self.pixels, 256) * c * self.blocks
        yield Launch(
            "preprocess",
            "preprocess_normalise_kernel",
            blocks,
            256,
            c * p + blocks * parts * 2 * DOUBLE,
            c * p,
            2 * c * v,
        )

    def backward(self) -> Iterator[Launch]:
        """Give the launches of the backward pass."""
        c, p, v, ins, s = self.channels, self.plane, self.values, self.inputs, self.stride
        phase = "preprocess_backward"
        if not self.weights and not self.states:
            return
        if self.states and s == 2:
            yield Launch("fill of d input", "(torch)", 264, 256, 0, ins * p * 4, 0)
        parts = self.blocks * BANDS
        sums = parts * 2 * DOUBLE  # of one channel
        yield Launch(
            phase, "preprocess_sums_kernel", parts * c, 256, 2 * c * p, c * sums, 3 * c * v
        )
        if self.states:
            run = 128 // self.outs if self.outs < 128 else 1
            blocks = divide_up(self.pixels, run) * self.blocks * s
            yield Launch(
                phase,
                "preprocess_input_kernel",
                blocks,
                256,
                2 * c * p + ins * p * s + blocks * self.outs * sums,
                ins * p * s,
                c * v * (5 + 2 * ins),
            )
        if not self.weights:
            return
        across, down = divide_up(ins, 64), divide_up(self.outs, 16)
        tiles = 256 // (self.blocks * across * down * s)
        weight_parts = self.blocks * min(max(tiles, 1), divide_up(self.pixels, 16))
        blocks = weight_parts * across * down * s
        table = weight_parts * c * ins * FLOAT
        yield Launch(
            phase,
            "preprocess_weights_kernel",
            blocks,
            256,
            2 * c * p * across + ins * p * s * down + blocks * min(16, self.outs) * sums,
            table,
            c * v * (5 * across + 2 * ins),
        )
        blocks = divide_up(c * ins, 32)
        yield Launch(phase, "add_parts_kernel", blocks, 256, table, c * ins * FLOAT, table / FLOAT)
