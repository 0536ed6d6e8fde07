"""Runs compiled kernels: some blocks of a launch, every instruction as its warps would issue it.

Of all threads those run next that stand at the lowest address, until they branch, wait, or reach
others that stand further on. Threads of a warp part and meet again where the code says so (BSSY,
BSYNC); a block's warps wait for each other at barriers. So each instruction is executed as often as
on a card, whatever the compiler unrolled, joined or moved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from .accesses import ACCESSES, Memories, Traffic
from .card import Card
from .cubin import Kernel
from .disassembly import BYTES, Instruction
from .floating import FLOATING
from .integer import INTEGER
from .memory import GlobalMemory
from .operands import is_predicate, predicate, reader
from .pipes import CONTROL, pipe_of
from .scoreboard import Scoreboard, Timing, timing
from .state import FIRST_SHARED, WARP, Launch, State, register_row

PARKED, ENDED = 1 << 29, 1 << 30  # in place of an address
WARP_SYNC = 16  # beside B0 to B15 of a warp


@dataclass
class Run:
    """What the blocks that ran have done."""

    executions: np.ndarray  # by instruction and block: how often a warp issued it
    threads: np.ndarray  # by instruction: how many threads took part, all in all
    clocks: np.ndarray  # of each block, alone on a card
    traffic: Traffic
    memory: GlobalMemory


@dataclass(frozen=True)
class Step:
    """An instruction, ready to be run."""

    instruction: Instruction
    compute: Callable | None
    access: Callable | None
    guard: Callable | None
    timing: Timing

    @property
    def controls(self) -> bool:
        return self.compute is None and self.access is None


def make_step(instruction: Instruction, card: Card) -> Step:
    """Prepare an instruction.

    Raises:
        NotImplementedError: it is none that kernels here have used so far.
    """
    compute = {**INTEGER, **FLOATING}.get(instruction.opcode)
    access = ACCESSES.get(instruction.opcode)
    if compute is None and access is None and pipe_of(instruction) != CONTROL:
        raise NotImplementedError(f"no kernel has used {instruction.text!r} before: add its opcode")
    return Step(
        instruction,
        compute(instruction) if compute else None,
        access(instruction) if access else None,
        predicate(instruction.guard) if instruction.guard else None,
        timing(instruction, card),
    )


@cache
def steps_of(kernel: Kernel, card: Card) -> list[Step]:
    """Prepare all instructions of a kernel; raises what :func:`make_step` does."""
    return [make_step(instruction, card) for instruction in kernel.code]


class Machine:
    """Some blocks of a launch of a kernel, on a card."""

    def __init__(
        self,
        kernel: Kernel,
        launch: Launch,
        blocks: np.ndarray,
        card: Card,
        read_page: Callable[[int], bytes],
    ) -> None:
        self.steps = steps_of(kernel, card)
        self.state = State(kernel, launch, np.asarray(blocks))
        count, lanes = len(blocks), self.state.lanes
        self._warps_per_block = lanes // WARP
        shared = max(kernel.shared, FIRST_SHARED[kernel.architecture]) + launch.dynamic
        self.memory = GlobalMemory(count, read_page)
        self.memories = Memories(self.state, self.memory, shared)
        self.scoreboard = Scoreboard(card, count * self._warps_per_block, self._warps_per_block)
        self._pc = np.where(self.state.exists, 0, ENDED)
        self._resume = np.zeros(count * lanes, np.int64)  # of parked threads
        self._waits_for = np.full(count * lanes, -1)  # barrier of the warp, or -1
        self._in_barrier = np.zeros(count * lanes, bool)  # of the block
        self._members = np.zeros((WARP_SYNC + 1, count * lanes), bool)
        self._executions = np.zeros((len(self.steps), count), np.int64)
        self._threads = np.zeros(len(self.steps), np.int64)

    def run(self) -> Run:
        """Run until every thread has ended.

        Raises:
            RuntimeError: threads wait for what never comes, or meet a shuffle in parts.
            IndexError: an access is misaligned or reaches where nothing is.
        """
        with np.errstate(all="ignore"):
            while True:
                first = int(self._pc.min())
                if first < PARKED:
                    self._run_from(first)
                elif not (self._release_warps() or self._release_blocks()):
                    break
        if (self._pc != ENDED).any():
            raise RuntimeError(f"{self.state.launch.name}: threads wait for what never comes")
        return Run(
            self._executions,
            self._threads,
            self.scoreboard.block_clocks(),
            self.memories.traffic,
            self.memory,
        )

    def _run_from(self, pc: int) -> None:
        """Run the threads that stand at an instruction until they branch or meet others."""
        standing = self._pc == pc
        at = np.flatnonzero(standing)
        further = self._pc[self._pc > pc]
        end = min(int(further.min()) if len(further) else ENDED, len(self.steps))
        index = slice(int(at[0]), int(at[-1]) + 1) if at[-1] - at[0] + 1 == len(at) else at
        warps = np.flatnonzero(standing.reshape(-1, WARP).any(axis=1))
        warp_index = warps
        if warps[-1] - warps[0] + 1 == len(warps):
            warp_index = slice(int(warps[0]), int(warps[-1]) + 1)
        start, controls = pc, False
        while pc < end and not controls:
            step = self.steps[pc]
            controls = step.controls
            if not controls:
                self._execute(step, at, index)
            self.scoreboard.issue(step.timing, warp_index, self.memories.missed)
            pc += 1
        by_block = np.bincount(warps // self._warps_per_block, minlength=self._executions.shape[1])
        self._executions[start:pc] += by_block
        self._threads[start:pc] += len(at)
        self._pc[at] = pc
        if controls:
            self._control(step, at, index, warps)

    def _execute(self, step: Step, at: np.ndarray, index: object) -> None:
        if step.guard is not None:
            wanted = step.guard(self.state, index)
            if not wanted.all():
                at = index = at[wanted]
        if not len(at):
            if step.access:
                self.memories.missed[:] = False
            return
        if step.compute:
            step.compute(self.state, index)
        else:
            try:
                step.access(self.state, self.memories, at)
            except IndexError as error:
                where = f"{self.state.launch.name}, {step.instruction.text}"
                raise IndexError(f"{where}: {error}") from None

    def _control(self, step: Step, at: np.ndarray, index: object, warps: np.ndarray) -> None:
        """Let threads go where a control instruction sends them; they stand behind it by now."""
        instruction, opcode = step.instruction, step.instruction.opcode
        if step.guard is not None:
            at = at[step.guard(self.state, index)]
        operands = instruction.operands
        if opcode in ("BRA", "EXIT") and operands and is_predicate(operands[0]):
            at = at[predicate(operands[0])(self.state, at)]
        if not len(at):
            return
        if "DIV" in instruction.modifiers:
            self._check_whole(at, warps)
        elif opcode == "EXIT":
            self._pc[at] = ENDED
        elif opcode in ("BRA", "CALL", "BRX", "BRXU", "RET"):
            self._pc[at] = self._target(instruction, at)
            self.scoreboard.branch(np.unique(self.state.warp[at]))
        elif opcode == "BSSY":
            self._members[int(operands[0][1:])][at] = True
        elif opcode == "BREAK":
            self._members[int(operands[0][1:])][at] = False
            self._release_warps()
        elif opcode == "BSYNC":
            self._wait_in_warp(at, int(operands[0][1:]))
        elif opcode == "WARPSYNC":
            self._members[WARP_SYNC] |= self._named(instruction, at)
            self._wait_in_warp(at, WARP_SYNC)
        elif opcode == "BAR":
            self._park(at)
            self._in_barrier[at] = True
            self._release_blocks()
        elif opcode not in ("NOP", "LEPC", "ACQBULK", "PREEXIT"):
            raise NotImplementedError(f"no kernel has used {instruction.text!r} before")

    def _target(self, instruction: Instruction, at: np.ndarray) -> object:
        if instruction.target is not None:
            return instruction.target // BYTES
        if "ABS" in instruction.modifiers:
            raise RuntimeError(f"{self.state.launch.name}: an assertion fails")
        name, offset = instruction.operands[0].split()
        start = instruction.address + BYTES if instruction.opcode in ("BRX", "BRXU") else 0
        address = self.state.register[register_row(name)][at].astype(np.int64)
        return (address + start + int(offset, 16)) // BYTES

    def _named(self, instruction: Instruction, at: np.ndarray) -> np.ndarray:
        """Say which threads the masks of a WARPSYNC name."""
        masks = np.zeros(len(self.scoreboard.clock), np.uint32)
        everyone = np.full(len(at), 0xFFFFFFFF, np.uint32)
        mask = reader(instruction.operands[0])(self.state, at) if instruction.operands else everyone
        masks[self.state.warp[at]] = mask
        return (masks[self.state.warp] >> self.state.lane.astype(np.uint32) & np.uint32(1)) != 0

    def _check_whole(self, at: np.ndarray, warps: np.ndarray) -> None:
        """Shuffles must find their warp together: the code for the parts is not run here."""
        here = np.bincount(self.state.warp[at], minlength=len(self.scoreboard.clock))
        alive = (self._pc != ENDED).reshape(-1, WARP).sum(axis=1)
        if (here[warps] != alive[warps]).any():
            raise RuntimeError(f"{self.state.launch.name}: a warp meets a shuffle in parts")

    def _park(self, at: np.ndarray) -> None:
        self._resume[at] = self._pc[at]
        self._pc[at] = PARKED

    def _wait_in_warp(self, at: np.ndarray, barrier: int) -> None:
        self._park(at)
        self._waits_for[at] = barrier
        self._release_warps()

    def _release_warps(self) -> bool:
        """Let go the threads whose warp has come together; say whether there were any."""
        waiting = self._waits_for >= 0
        released = False
        for barrier in np.unique(self._waits_for[waiting]).tolist():
            here = self._waits_for == barrier
            missing = self._members[barrier] & ~here & (self._pc != ENDED)
            whole = ~missing.reshape(-1, WARP).any(axis=1)
            free = np.flatnonzero(here & np.repeat(whole, WARP))
            if len(free):
                self._pc[free] = self._resume[free]
                self._waits_for[free] = -1
                self._members[barrier][free] = False
                released = True
        return released

    def _release_blocks(self) -> bool:
        """Let go the blocks whose threads all wait or have ended; say whether there were any."""
        lanes = self.state.lanes
        free = (self._in_barrier | (self._pc == ENDED)).reshape(-1, lanes).all(axis=1)
        free &= self._in_barrier.reshape(-1, lanes).any(axis=1)
        if not free.any():
            return False
        at = np.flatnonzero(self._in_barrier & np.repeat(free, lanes))
        self._pc[at] = self._resume[at]
        self._in_barrier[at] = False
        self.scoreboard.barrier(np.flatnonzero(free))
        return True
