"""What each launch of the fused cell's CUDA kernels has to read, write and compute.

The order of the launches is that of csrc/torch/cell/forward.h, the rest follows the head comments
of csrc/cuda/cell/*.cu. Calculated for float32, ADARTS's attention and batches that fill their
blocks of 16 images. Bytes are those that the thread blocks of a launch ask for when they see them
first: taps and windows that overlap come from L1 and do not count, but what several blocks read
(sums in parts, the input of several works) counts for each. FLOPs are additions, multiplications
and maxima, not comparisons, addresses or conversions. Small vectors (maps, scores where planes are
read as well) are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cell_sizes import DOUBLE, EDGES, FLOAT, INPUTS, LANES, NODES, CellSizes, Launch, divide_up

OPERATIONS = 8
TAPS = 2 * (9 + 25)  # of the four depthwise convolutions of the first halves
POOLS = 19  # FLOPs of both 3x3 pools at a pixel


class CellCost(CellSizes):
    """The launches of a search cell, forward and backward."""

    # Forward.

    def forward(self) -> Iterator[Launch]:
        """Give the launches of the forward pass."""
        for state in range(INPUTS):
            yield from self._leave(state)
        for node in range(NODES):
            strides = self.entering(node)
            yield self._first_half(strides, "")
            yield self._second_half(strides, "")
            yield self._finish_norms(strides)
            yield self._node(strides)
            yield from self._leave(INPUTS + node)

    def _leave(self, state: int) -> Iterator[Launch]:
        edges = [edge for edge in EDGES if edge[0] == state]
        if not edges:
            return
        c, scale = self.channels, self.state_scale(state)
        yield Launch(
            "pool_state",
            "pool_state_kernel",
            2 * self.blocks * c,
            256,
            c * self.plane * scale,
            3 * self.vector,
            2 * c * self.values * scale,
        )
        images = self.blocks * LANES
        weights = 2 * self.hidden * c * FLOAT
        yield Launch(
            "score_and_select",
            "score_and_select_kernel",
            len(edges),
            1024,
            len(edges) * (3 * self.vector + weights),
            len(edges) * self.vector,
            len(edges) * images * c * (6 * self.hidden + 5),
        )

    def _first_half(self, strides: Sequence[int], again: str) -> Launch:
        c, p, v = self.selected, self.plane, self.values
        works = read = written = flops = 0
        for s in strides:
            works += 7 if s == 2 else 5
            read += c * p * (2 * s * s + 2 + s * s)  # separable, dilated: even pixels; pools
            written += 4 * c * p
            flops += c * v * (2 * TAPS + 4 * (2 * c + 5) + POOLS + 10)
            if s == 2:
                read += 2 * c * p
                written += c * p
                flops += c * v * (2 * c + 6)
            written += self.parts * (7 if s == 2 else 6) * 2 * c * DOUBLE
        blocks = self.parts * works
        return Launch("first_half" + again, "first_half_kernel", blocks, 256, read, written, flops)

    def _second_half(self, strides: Sequence[int], again: str) -> Launch:
        c, p, v, edges = self.selected, self.plane, self.values, len(strides)
        blocks = self.parts * edges * 2
        read = edges * 2 * c * p + blocks * self.totals(2 * c)
        written = edges * 2 * c * (p + self.parts * 2 * DOUBLE)
        flops = edges * c * v * (4 * (9 + 25) + 2 * (2 * c + 4))
        phase = "second_half" + again
        return Launch(phase, "second_half_kernel", blocks, 256, read, written, flops)

    def _finish_norms(self, strides: Sequence[int]) -> Launch:
        c, norms = self.selected, sum(9 if s == 2 else 8 for s in strides)
        read = norms * self.totals(2 * c)
        blocks = divide_up(c, 8) * norms
        written = norms * 3 * c * FLOAT
        return Launch(
            "finish_norms", "finish_norms_kernel", blocks, 256, read, written, read / DOUBLE
        )

    def _node(self, strides: Sequence[int]) -> Launch:
        c, p, v, read, flops = self.selected, self.plane, self.values, 0, 0
        for s in strides:
            read += c * p * (4 + (s == 2) + s * s) + self.passing * p * s * s
            flops += c * v * (POOLS + 18) + self.passing * v * (5 if s == 2 else 2)
        blocks = divide_up(self.pixels, 64) * self.channels * self.blocks
        return Launch("node", "node_kernel", blocks, 256, read, self.channels * p, flops)

    # Backward.

    def backward(self) -> Iterator[Launch]:
        """Give the launches of the backward pass."""
        count = self.parts * sum(self.edge_weights(self.edge_stride(edge)) for edge in EDGES)
        if self.weights:
            blocks = divide_up(count, 1024)
            yield Launch("fill of weight parts", "(torch)", blocks, 256, 0, count * FLOAT, 0)
        for node in reversed(range(NODES)):
            yield from self._arrive(INPUTS + node)
            yield from self._enter(node)
        for state in range(INPUTS):
            if self.inputs[state]:
                yield from self._arrive(state)
        if self.weights:
            columns = count // self.parts
            yield Launch(
                "finish_weights",
                "add_parts_kernel",
                divide_up(columns, 32),
                256,
                count * FLOAT,
                columns * FLOAT,
                count,
            )

    def _arrive(self, state: int) -> Iterator[Launch]:
        edges = [edge for edge in EDGES if edge[0] == state]
        if not edges:
            return
        count, c, h = len(edges), self.channels, self.hidden
        blocks, images, weights = count * self.blocks, self.blocks * LANES, self.weights
        of_weights = 2 * h * c * FLOAT * blocks
        scale_parts = self.totals(self.selected * LANES)  # of the chosen channels
        yield Launch(
            "attention_backward",
            "attention_backward_kernel",
            blocks,
            512,
            count * (3.75 * self.vector + scale_parts) + of_weights * (2 if weights else 1),
            count * 2 * self.vector + (of_weights if weights else 0),
            count * images * h * c * (10 + (8 if weights else 0)),
        )
        scale, s = self.state_scale(state), self.edge_stride(edges[0])
        plane, values = self.plane * scale, self.values * scale
        start = 0 if state < INPUTS else c * plane
        of_edge = self.selected * plane + self.passing * (self.plane + (plane if s == 2 else 0))
        yield Launch(
            "state_backward",
            "state_backward_kernel",
            divide_up(self.pixels * scale, 64) * c * self.blocks,
            256,
            start + count * (of_edge + 3 * self.vector),
            c * plane,
            2 * count * c * values,
        )

    def _enter(self, node: int) -> Iterator[Launch]:
        strides = self.entering(node)
        if not self.store:
            yield self._first_half(strides, ", again")
            yield self._second_half(strides, ", again")
        yield self._node_backward(strides)
        c, edges = self.selected, len(strides)
        rows = OPERATIONS * c + 1
        read = edges * self.totals(rows)
        yield Launch(
            "finish_sums", "finish_sums_kernel", edges, 1024, read, edges * rows * DOUBLE, read / 8
        )
        needed = [
            self.edge_stride(edge)
            for edge in EDGES
            if edge[1] == node and (self.weights or edge[0] >= INPUTS or self.inputs[edge[0]])
        ]
        if needed:
            yield from self._second_half_backward(len(needed))
            yield from self._first_half_backward(needed)

    def _node_backward(self, strides: Sequence[int]) -> Launch:
        c, p, v, read, flops = self.selected, self.plane, self.values, 0, 0
        for s in strides:
            read += self.channels * p * (1 + s * s) + (5 if s == 2 else 4) * c * p
            flops += c * v * (POOLS + 20) + self.passing * v * (5 if s == 2 else 2)
        blocks = self.parts * (1 + self.team_groups) * len(strides)
        written = len(strides) * (self.totals(OPERATIONS * c + 1) + self.vector)
        return Launch("node_backward", "node_backward_kernel", blocks, 128, read, written, flops)

    def _second_half_backward(self, edges: int) -> Iterator[Launch]:
        c, p, v, w = self.selected, self.plane, self.values, int(self.weights)
        pointwise = self.parts * 2 * c * c * FLOAT * w * edges
        taps = self.parts * (9 + 25) * c * FLOAT * w * edges
        yield Launch(
            "second_half_backward",
            "second_pointwise_kernel",
            self.parts * 2 * edges,
            256,
            edges * 2 * c * p * (2 + w) + pointwise,
            edges * 2 * c * p + pointwise,
            edges * c * v * (2 * (5 + 2 * c) + w * (4 * (9 + 25) + 4 * c)),
        )
        yield Launch(
            "second_half_backward",
            "second_depthwise_kernel",
            self.parts * 2 * self.team_groups * edges,
            128,
            edges * 2 * c * p * 2 + taps,
            edges * 2 * c * p + taps + edges * self.totals(4 * c),
            edges * c * v * (2 * (9 + 25) * (1 + w) + 2 * 6),
        )

    def _first_half_backward(self, strides: Sequence[int]) -> Iterator[Launch]:
        c, p, v, w, edges = (
            self.selected,
            self.plane,
            self.values,
            int(self.weights),
            len(strides),
        )
        ways = read = written = flops = gather_read = gather_written = gather_flops = 0
        for s in strides:
            pointwise = self.parts * (5 if s == 2 else 4) * c * c * FLOAT * w
            taps = self.parts * TAPS * c * FLOAT * w
            ways += 7 if s == 2 else 5
            read += 8 * c * p + w * c * p * (2 * s * s + 2) + c * p * (1 + s * s) + pointwise
            read += self.parts * 2 * self.totals(2 * c)
            written += 4 * c * p + 2.25 * c * p + pointwise
            flops += c * v * (4 * (5 + 2 * c) + w * (2 * TAPS + 4 * (1 + 2 * c)) + POOLS + 22)
            if s == 2:
                read += 2 * c * p + 2 * w * c * p
                written += 2 * c * p
                flops += c * v * (5 + 2 * c + w * (2 + 2 * c))
            gather_read += c * p * (4 + 2.25 + (2 if s == 2 else 1) + s * s) + taps
            gather_written += c * p * s * s + taps + self.parts * c * LANES * DOUBLE
            gather_flops += c * v * (2 * TAPS * (1 + w) + 18 + 4 * s * s)
        phase = "first_half_backward"
        blocks = self.parts * ways
        yield Launch(phase, "first_pointwise_kernel", blocks, 256, read, written, flops)
        blocks = self.parts * self.team_groups * edges
        yield Launch(
            phase, "first_gather_kernel", blocks, 128, gather_read, gather_written, gather_flops
        )
