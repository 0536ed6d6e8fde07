"""What test_bench_sizes.py has one fresh process measure: most of its time is importing torch's."""

from __future__ import annotations

from adarts_ext.bench import arms
from adarts_ext.bench.parts import fit, memory


def measure(size: list[int], batches: list[int]) -> dict[str, object]:
    """A pass at a size, then steps at some batches, of networks of two nodes a cell."""
    arms.NODES = 2
    steps = [("ours, recompute", [batch, *size[1:]], "cpu", 1) for batch in batches]
    return {
        "pass": memory.measure_pass("ours, store", size, "cpu", 1),
        "steps": [fit.measure_step(*step) for step in steps],
        "seconds": fit.time_step(*steps[0]),
    }
