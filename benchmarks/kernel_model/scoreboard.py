"""The clock of each warp on a card that is otherwise empty: the chain of waiting for results.

A warp issues in order, an instruction when all its operands are there. No other warp takes its
turn: what many warps need together is counted elsewhere (predict.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .card import BARRIER, BRANCH, Card
from .dependencies import rows_read, rows_written
from .disassembly import Instruction
from .pipes import pipe_of
from .state import ROWS


@dataclass(frozen=True)
class Timing:
    """What the clock needs to know of an instruction."""

    waits: np.ndarray  # rows, as a column
    sets: np.ndarray
    interval: float  # until the warp's next instruction
    latency: float
    from_memory: bool  # its latency is the level's that answers


def timing(instruction: Instruction, card: Card) -> Timing:
    """Look up an instruction's times on a card."""
    pipe = pipe_of(instruction)
    sets = rows_written(instruction)
    latency = card.latency[pipe]
    if instruction.opcode in ("LDS", "SHFL"):
        latency = card.load_shared
    return Timing(
        waits=np.array(sorted({*rows_read(instruction), *sets}), np.int64)[:, None],
        sets=np.array(sets, np.int64)[:, None],
        interval=1.0 if pipe == "LSU" else card.issue_cycles[pipe],
        latency=latency,
        from_memory=instruction.opcode in ("LDG", "LDL"),
    )


class Scoreboard:
    """Clocks and pending results of all warps."""

    def __init__(self, card: Card, warps: int, warps_per_block: int) -> None:
        self._card, self._per_block = card, warps_per_block
        self.clock = np.zeros(warps)
        self._ready = np.zeros((ROWS, warps))

    def issue(self, timing: Timing, warps: object, missed: np.ndarray) -> None:
        """Issue an instruction to some warps, an index; ``missed``: whose load L1 did not have."""
        now = self.clock[warps]
        if len(timing.waits):
            waits = timing.waits
            rows = (
                self._ready[waits[:, 0], warps]
                if isinstance(warps, slice)
                else self._ready[waits, warps]
            )
            now = np.maximum(now, rows.max(axis=0))
        self.clock[warps] = now + timing.interval
        if len(timing.sets):
            latency = timing.latency
            if timing.from_memory:
                latency = np.where(missed[warps], self._card.load_l2, self._card.load_l1)
            if isinstance(warps, slice):
                self._ready[timing.sets[:, 0], warps] = now + latency
            else:
                self._ready[timing.sets, warps] = now + latency

    def branch(self, warps: np.ndarray) -> None:
        self.clock[warps] += BRANCH

    def barrier(self, blocks: np.ndarray) -> None:
        """Let all warps of some blocks go on together."""
        clock = self.clock.reshape(-1, self._per_block)
        clock[blocks] = clock[blocks].max(axis=1, keepdims=True) + BARRIER

    def block_clocks(self) -> np.ndarray:
        """Give for each block when its last warp ends."""
        return self.clock.reshape(-1, self._per_block).max(axis=1)
