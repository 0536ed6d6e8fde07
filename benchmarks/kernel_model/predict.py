"""How long a launch should take on a card.

    seconds = launch gap + chain + the longest of issue, each pipe, LSU, L2 and DRAM

The chain is the time until the last block ends if no warp ever waits for another one's turn: blocks
in their order over the places of the card, each for as long as it takes alone. The rest is what the
busiest multiprocessor has to issue and move. A scheduler that never idles while a warp is ready
needs at most the sum (Graham 1966, Brent 1974) and at least the longer of both, so the truth lies
between ``least`` and ``seconds``.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .card import L2_PORT, SCHEDULERS, SUSTAINED, Card, occupancy
from .cubin import Kernel
from .hot_loop import HotLoop, hottest_loop
from .machine import Machine, Run
from .memory import SECTOR
from .pipes import FMA, IMAD, LSU, PIPES, pipe_of
from .sampling import sample
from .state import FIRST_SHARED, Launch

_MEMORY_OPCODES = ("LDG", "STG", "LDS", "STS", "LDL", "STL", "SHFL")


@dataclass(frozen=True)
class Prediction:
    """What a launch does and how long it should take."""

    launch: Launch
    resident: int  # blocks of a multiprocessor at a time
    waves: float
    gap: float  # seconds, as all that follow
    chain: float
    terms: dict[str, float]  # issue, pipes, LSU, L2, DRAM: at the busiest multiprocessor
    instructions: dict[str, float]  # of all warps, by pipe
    threads: float  # that take part in an instruction of a warp, of 32
    requested: float  # bytes that all loads ask L1 for, in sectors
    read: float  # bytes that the blocks read first, from L2
    unique: float  # bytes that the launch reads
    written: float
    conflicts: float  # passes of shared memory beyond what the bytes need
    hot_loop: HotLoop | None

    @property
    def bound(self) -> str:
        """The name of the longest term."""
        return max(self.terms, key=self.terms.__getitem__)

    @property
    def work(self) -> float:
        return max(self.terms.values())

    @property
    def seconds(self) -> float:
        return self.gap + self.chain + self.work

    @property
    def least(self) -> float:
        return self.gap + max(self.chain, self.work)


def predict(
    kernel: Kernel,
    launch: Launch,
    card: Card,
    read_page: Callable[[int], bytes],
    alike: bool = False,
) -> Prediction:
    """Run some blocks of a launch and work out how long all should take; alike as in sample."""
    blocks, stands_for = sample(launch, alike=alike)
    run = Machine(kernel, launch, blocks, card, read_page).run()
    static = max(0, kernel.shared - FIRST_SHARED[kernel.architecture])
    resident = occupancy(card, launch.warps, kernel.registers, static + launch.dynamic)
    places = resident * card.multiprocessors
    chain, place_of = schedule(run.clocks[stands_for], places)
    multiprocessor = place_of % card.multiprocessors

    def busiest(of_blocks: np.ndarray) -> float:
        return float(np.bincount(multiprocessor, weights=of_blocks[stands_for]).max())

    by_pipe = _by_pipe(kernel, run)
    free = card.l1_bytes - resident * (static + launch.dynamic + card.block_shared)
    from_l2 = _from_l2(run, resident, free)
    moved = SECTOR * (from_l2 + run.traffic.written_sectors)
    unique = _unique(run.memory.read_by, run.traffic.first_sectors, stands_for)
    written = _unique(run.memory.written_by, run.traffic.written_sectors, stands_for)
    schedulers = min(SCHEDULERS, launch.warps * resident)
    clocks = {
        "issue": busiest(run.executions.sum(axis=0)) / schedulers,
        **{
            pipe: busiest(count) * card.issue_cycles[pipe] / schedulers
            for pipe, count in by_pipe.items()
            if pipe != LSU
        },
        LSU: busiest(run.traffic.lsu_cycles + _other_lsu(kernel, run)),
        "L2": max(busiest(moved) / L2_PORT, float(moved[stands_for].sum()) / card.l2_bytes_clock),
    }
    clocks[FMA] += busiest(by_pipe[IMAD]) * card.issue_cycles[FMA] / schedulers
    terms = {name: count / card.clock for name, count in clocks.items()}
    terms["DRAM"] = (unique + written) / (card.dram_bytes * SUSTAINED)
    executed = run.executions.sum()
    return Prediction(
        launch=launch,
        resident=resident,
        waves=launch.blocks / places,
        gap=card.launch_gap,
        chain=chain / card.clock,
        terms=terms,
        instructions={p: float(count[stands_for].sum()) for p, count in by_pipe.items()},
        threads=float(run.threads.sum() / max(executed, 1)),
        requested=SECTOR * float(run.traffic.read_sectors[stands_for].sum()),
        read=SECTOR * float(from_l2[stands_for].sum()),
        unique=unique,
        written=written,
        conflicts=float(run.traffic.conflicts[stands_for].sum()),
        hot_loop=hottest_loop(kernel.code, run.executions.sum(axis=1)),
    )


def schedule(clocks: np.ndarray, places: int) -> tuple[float, np.ndarray]:
    """Give blocks in their order to the place that is free first.

    Returns:
        When the last ends, and the place of each block.

    Example:
        >>> end, place = schedule(np.array([4.0, 1.0, 2.0]), 2)
        >>> end, place.tolist()
        (4.0, [0, 1, 1])
    """
    free = [(0.0, place) for place in range(min(places, len(clocks)))]
    place_of = np.zeros(len(clocks), np.int64)
    for block, clock in enumerate(clocks.tolist()):
        start, place = heapq.heappop(free)
        place_of[block] = place
        heapq.heappush(free, (start + clock, place))
    return max(end for end, _ in free), place_of


def _by_pipe(kernel: Kernel, run: Run) -> dict[str, np.ndarray]:
    """Count the instructions that each block's warps issue, by pipe."""
    pipes = np.array([PIPES.index(pipe_of(instruction)) for instruction in kernel.code])
    return {pipe: run.executions[pipes == number].sum(axis=0) for number, pipe in enumerate(PIPES)}


def _other_lsu(kernel: Kernel, run: Run) -> np.ndarray:
    """Count what takes a turn of LSU without moving data through it: LDC, S2R and the like."""
    other = np.array(
        [pipe_of(i) == LSU and i.opcode not in _MEMORY_OPCODES for i in kernel.code], bool
    )
    return run.executions[other].sum(axis=0)


def _from_l2(run: Run, resident: int, free: int) -> np.ndarray:
    """Count the sectors that each block reads from L2.

    What it reads again comes from L1 as far as what the resident blocks read fits there.
    """
    first, every = run.traffic.first_sectors, run.traffic.read_sectors
    footprint = np.maximum(resident * SECTOR * first, 1)
    return first + (every - first) * (1 - np.minimum(1, max(free, 0) / footprint))


def _unique(by: np.ndarray, of_blocks: np.ndarray, stands_for: np.ndarray) -> float:
    """Estimate the bytes that a launch touches from those that the blocks that ran share."""
    union, every = float(by.any(axis=2).sum()), float(by.sum())
    return SECTOR * float(of_blocks[stands_for].sum()) * (union / every if every else 0.0)
