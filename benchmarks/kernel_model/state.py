"""What the threads of some blocks hold: registers, predicates, constants.

All threads lie side by side in one array for each register, so that an instruction is one operation
on arrays. Uniform registers are kept for every thread as well: where the compiler uses one, all
threads of a warp have the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from .cubin import Kernel

WARP = 32
REGISTERS, UNIFORMS = 256, 64
ZERO, UNIFORM_ZERO = 255, REGISTERS + 63  # RZ, URZ
TRUE = 7  # PT; UPT is 15
PREDICATES = 16
ROWS = REGISTERS + UNIFORMS + PREDICATES  # of all that an instruction may wait for

#: Where parameters begin in constant bank 0: by experiment, as any disassembly shows.
PARAMETERS = {"sm_80": 0x160, "sm_90": 0x210}
STACK_POINTER = 0x28  # likewise
#: The first byte of shared memory that a kernel may use; what is below the system keeps.
FIRST_SHARED = {"sm_80": 0, "sm_90": 0x400}


@dataclass(frozen=True)
class Launch:
    """A launch as the emulator saw it."""

    name: str  # of the kernel, with template arguments
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    dynamic: int  # bytes of dynamic shared memory
    parameters: bytes

    @property
    def blocks(self) -> int:
        return self.grid[0] * self.grid[1] * self.grid[2]

    @property
    def threads(self) -> int:
        return self.block[0] * self.block[1] * self.block[2]

    @property
    def warps(self) -> int:
        return -(-self.threads // WARP)


class State:
    """Registers and predicates of the threads of some blocks of a launch.

    Threads are numbered block by block, in each block as many as its warps have lanes; lanes
    beyond the block's threads never run.
    """

    def __init__(self, kernel: Kernel, launch: Launch, blocks: np.ndarray) -> None:
        self.kernel, self.launch = kernel, launch
        self.lanes = launch.warps * WARP  # of a block
        count = len(blocks) * self.lanes
        self.register = np.zeros((REGISTERS + UNIFORMS, count), np.uint32)
        self.predicate = np.zeros((PREDICATES, count), bool)
        self.predicate[[TRUE, 8 + TRUE]] = True
        thread = np.arange(count)
        self.block = thread // self.lanes  # counted from the first that runs
        self.warp = thread // WARP
        self.lane = thread % WARP
        self.number = thread % self.lanes  # in its block
        self.exists = self.number < launch.threads
        self.banks = {0: self._first_bank(), **self._other_banks()}
        x, y, _ = launch.block
        index = blocks[self.block]
        self.special = {
            "SR_TID.X": self.number % x,
            "SR_TID.Y": self.number // x % y,
            "SR_TID.Z": self.number // (x * y),
            "SR_CTAID.X": index % launch.grid[0],
            "SR_CTAID.Y": index // launch.grid[0] % launch.grid[1],
            "SR_CTAID.Z": index // (launch.grid[0] * launch.grid[1]),
            "SR_LANEID": self.lane,
            "SR_CgaCtaId": np.zeros(count, np.int64),
            "SRZ": np.zeros(count, np.int64),
        }

    def _first_bank(self) -> np.ndarray:
        start = PARAMETERS[self.kernel.architecture]
        sizes = np.array([*self.launch.block, *self.launch.grid], np.uint32).tobytes()
        stack = np.uint32(self.kernel.stack).tobytes()  # where it begins; it grows downwards
        head = sizes.ljust(STACK_POINTER, b"\0") + stack
        return _padded(head.ljust(start, b"\0") + self.launch.parameters)

    def _other_banks(self) -> dict[int, np.ndarray]:
        banks = self.kernel.constants.items()
        return {bank: _padded(data) for bank, data in banks}

    def constant(self, bank: int, at: int, size: int = 4) -> int:
        """Read one little-endian number from a constant bank."""
        return int.from_bytes(self.banks[bank][at : at + size].tobytes(), "little")


def _padded(data: bytes) -> np.ndarray:
    """Make an array that can be read in words of up to 16 bytes."""
    return np.frombuffer(data + bytes(-len(data) % 16), np.uint8)


def register_row(name: str) -> int:
    """Give the row of a register such as ``R4``, ``RZ`` or ``UR7``."""
    if name == "RZ":
        return ZERO
    if name == "URZ":
        return UNIFORM_ZERO
    if found := re.fullmatch(r"(U?)R(\d+)", name):
        return int(found[2]) + (REGISTERS if found[1] else 0)
    raise ValueError(f"expected a register such as R4, RZ or UR7, got {name!r}")


def predicate_row(name: str) -> int:
    """Give the row of a predicate such as ``P0``, ``PT`` or ``UP3``."""
    first = 8 if name.startswith("U") else 0
    number = name.removeprefix("U").removeprefix("P")
    return first + (TRUE if number == "T" else int(number))
