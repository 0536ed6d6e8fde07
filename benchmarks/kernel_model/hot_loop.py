"""The loop in which a kernel spends most of its instructions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .control_flow import basic_blocks, loops
from .disassembly import BYTES, Instruction
from .pipes import pipe_of


@dataclass(frozen=True)
class HotLoop:
    """An innermost loop as it ran."""

    address: int  # of its head
    share: float  # of all instructions that the kernel issued
    by_pipe: dict[str, float]  # instructions of a warp in one iteration

    @property
    def instructions(self) -> float:
        return sum(self.by_pipe.values())


def hottest_loop(code: Sequence[Instruction], executions: np.ndarray) -> HotLoop | None:
    """Find the innermost loop with the most instructions issued; None where nothing loops.

    Args:
        code: the kernel's instructions.
        executions: how often each was issued.
    """
    blocks = basic_blocks(code)
    found = loops(blocks)
    heads = {loop.head for loop in found}
    issued: dict[int, int] = {}
    bodies: dict[int, list[int]] = {}
    for loop in found:
        if loop.blocks & heads != {loop.head}:
            continue  # another loop is inside
        spans = [range(blocks[b].first, blocks[b].last + 1) for b in sorted(loop.blocks)]
        bodies[loop.head] = [number for span in spans for number in span]
        issued[loop.head] = int(executions[bodies[loop.head]].sum())
    if not issued or not max(issued.values()):
        return None
    head = max(issued, key=issued.__getitem__)
    first = blocks[head].first
    by_pipe: Counter[str] = Counter()
    for number in bodies[head]:
        by_pipe[pipe_of(code[number])] += executions[number] / executions[first]
    return HotLoop(
        address=first * BYTES,
        share=issued[head] / int(executions.sum()),
        by_pipe={pipe: float(count) for pipe, count in by_pipe.items() if count},
    )
