"""What instructions do that reach memory or another lane, and what they cost there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from .disassembly import Instruction
from .memory import LINE, PAGE, SECTOR, GlobalMemory, bank_passes, distinct, load_words, store_words
from .operands import constant_place, pair, predicate, reader, write, write_predicate
from .state import WARP, State, predicate_row, register_row

U32 = np.uint32
_SIZES = {"U8": 1, "S8": 1, "U16": 2, "S16": 2, "64": 8, "128": 16}
_PLACE = re.compile(
    r"(?:desc\[U?R\w+\])?\[(?P<base>U?R(?:Z|\d+))?(?P<form>\.64|\.X\d+)?"
    r"(?:\+?(?P<uniform>UR(?:Z|\d+)))?\+?(?P<offset>-?0x[0-9a-f]+)?\]"
)


@dataclass
class Traffic:
    """Counts of each block that runs."""

    read_requests: np.ndarray  # loads of a warp
    write_requests: np.ndarray
    read_sectors: np.ndarray  # of all requests
    first_sectors: np.ndarray  # those that the block had not read before
    written_sectors: np.ndarray
    lsu_cycles: np.ndarray  # of global memory, shared memory, shuffles: 128 bytes each
    conflicts: np.ndarray  # passes of shared memory beyond those that the bytes need

    @classmethod
    def none(cls, blocks: int) -> Traffic:
        return cls(*(np.zeros(blocks, np.int64) for _ in range(7)))


class Memories:
    """All that accesses need beside registers."""

    def __init__(self, state: State, memory: GlobalMemory, shared_bytes: int) -> None:
        self.memory = memory
        blocks = int(state.block[-1]) + 1
        self.shared_bytes = -(-shared_bytes // 16) * 16
        self.shared = np.zeros(blocks * self.shared_bytes, np.uint8)
        self.stack_bytes = -(-state.kernel.stack // 16) * 16
        self.stacks = np.zeros(len(state.lane) * self.stack_bytes, np.uint8)
        self.traffic = Traffic.none(blocks)
        self.missed = np.zeros(int(state.warp[-1]) + 1, bool)  # the last load, by warp


def size_of(instruction: Instruction) -> int:
    """Bytes of a lane."""
    return next((_SIZES[m] for m in instruction.modifiers if m in _SIZES), 4)


def _signed(words: np.ndarray, instruction: Instruction) -> np.ndarray:
    for name, type_ in (("S8", np.int8), ("S16", np.int16)):
        if name in instruction.modifiers:
            return words.astype(type_).astype(np.int32).view(U32)
    return words


def _address(operand: str, wide: bool):
    """Make a reader of an address; of global memory it has 64 bits."""
    found = _PLACE.fullmatch(operand)
    if not found:
        raise ValueError(f"expected an address such as [R2.64+0x10], got {operand}")
    base, form, uniform = found["base"], found["form"] or "", found["uniform"]
    offset = int(found["offset"] or "0", 16)
    scale = int(form[2:]) if form.startswith(".X") else 1
    row = register_row(base) if base else None
    other = register_row(uniform) if uniform else None

    def read(state: State, at: np.ndarray) -> np.ndarray:
        total = np.full(len(at), offset, np.int64)
        if row is not None:
            value = pair(state, row, at) if form == ".64" else state.register[row][at]
            total += value.astype(np.int64) * scale
        if other is not None:
            value = pair(state, other, at) if wide else state.register[other][at]
            total += value.astype(np.int64)
        return total if wide else total & 0xFFFFFFFF

    return read


def _check_alignment(address: np.ndarray, size: int) -> None:
    if (address % size).any():
        wrong = int(address[(address % size).argmax()])
        raise IndexError(f"{wrong:#x} is no multiple of {size}")


def load_global(instruction: Instruction):
    """LDG."""
    to, *_, place = instruction.operands[:2]
    size, row, address = size_of(instruction), register_row(to), _address(place, wide=True)

    def run(state: State, memories: Memories, at: np.ndarray) -> None:
        places = address(state, at)
        _check_alignment(places, size)
        memory, traffic = memories.memory, memories.traffic
        rows, within = memory.rows(places), places % PAGE
        words = _signed(memory.load(rows, within, size), instruction)
        for number, word in enumerate(words):
            write(state, row + number if row != 255 else row, at, word)
        warp, block, sector = _requests(state, memories, at, rows, within, traffic.read_requests)
        np.add.at(traffic.read_sectors, block, 1)
        seen = memory.read_by.reshape(-1, memory.read_by.shape[2])
        first = ~seen[sector, block]
        memories.missed[:] = False
        memories.missed[warp[first]] = True
        pairs = np.unique(sector[first] * seen.shape[1] + block[first])
        sector, block = pairs // seen.shape[1], pairs % seen.shape[1]
        seen[sector, block] = True
        np.add.at(traffic.first_sectors, block, 1)

    return run


def store_global(instruction: Instruction):
    """STG."""
    place, value = instruction.operands
    size, row, address = size_of(instruction), register_row(value), _address(place, wide=True)

    def run(state: State, memories: Memories, at: np.ndarray) -> None:
        places = address(state, at)
        _check_alignment(places, size)
        memory, traffic = memories.memory, memories.traffic
        rows, within = memory.rows(places), places % PAGE
        memory.store(rows, within, _words(state, at, row, size), size)
        _, block, sector = _requests(state, memories, at, rows, within, traffic.write_requests)
        np.add.at(traffic.written_sectors, block, 1)
        memory.written_by.reshape(-1, memory.written_by.shape[2])[sector, block] = True

    return run


def _words(state: State, at: np.ndarray, row: int, size: int) -> list[np.ndarray]:
    count = max(1, size // 4)
    return [state.register[row + (n if row != 255 else 0)][at] for n in range(count)]


def _requests(state, memories, at, rows, within, requests):
    """Count a request of each warp; give warp, block and number of the sectors it asks for."""
    sector = rows * (PAGE // SECTOR) + within // SECTOR
    warp, sector = distinct(state.warp[at], sector)
    per_block = state.lanes // WARP
    line_warp, _ = distinct(warp, sector // (LINE // SECTOR))
    np.add.at(memories.traffic.lsu_cycles, line_warp // per_block, 1)
    np.add.at(requests, np.unique(warp) // per_block, 1)
    return warp, warp // per_block, sector


def _shared(instruction: Instruction, place: str):
    size, address = size_of(instruction), _address(place, wide=False)

    def find(state: State, memories: Memories, at: np.ndarray) -> np.ndarray:
        places = address(state, at)
        _check_alignment(places, size)
        if len(places) and int(places.max()) + size > memories.shared_bytes:
            wrong = int(places.max())
            raise IndexError(f"{wrong:#x} is beyond the block's {memories.shared_bytes} bytes")
        first = int(state.warp[at[0]])
        passes = bank_passes(state.warp[at] - first, state.lane[at], places, size)
        warps = np.flatnonzero(passes) + first
        passes, block = passes[passes > 0], warps // (state.lanes // WARP)
        np.add.at(memories.traffic.lsu_cycles, block, passes)
        np.add.at(memories.traffic.conflicts, block, np.maximum(passes - max(1, size // 4), 0))
        return places + state.block[at] * memories.shared_bytes

    return size, find


def _local(instruction: Instruction, place: str):
    """Local memory of a thread lies so that the lanes of a warp reach neighbouring words."""
    size, address = size_of(instruction), _address(place, wide=False)

    def find(state: State, memories: Memories, at: np.ndarray) -> np.ndarray:
        places = address(state, at)
        _check_alignment(places, size)
        if int(places.max()) + size > memories.stack_bytes:
            raise IndexError(
                f"{int(places.max()):#x} is beyond {memories.stack_bytes} bytes of stack"
            )
        block = np.unique(state.warp[at]) // (state.lanes // WARP)
        np.add.at(memories.traffic.lsu_cycles, block, max(1, size * WARP // LINE))
        memories.missed[:] = False
        return places + at * memories.stack_bytes

    return size, find


def _load_own(instruction: Instruction, places, bytes_of):
    """Load from memory of a block or a thread alone, given how it finds places and bytes."""
    to, place = instruction.operands
    row = register_row(to)
    size, find = places(instruction, place)

    def run(state: State, memories: Memories, at: np.ndarray) -> None:
        words = load_words(bytes_of(memories), find(state, memories, at), size)
        for number, word in enumerate(_signed(words, instruction)):
            write(state, row + number if row != 255 else row, at, word)

    return run


def _store_own(instruction: Instruction, places, bytes_of):
    """Store to such memory."""
    place, value = instruction.operands
    row = register_row(value)
    size, find = places(instruction, place)

    def run(state: State, memories: Memories, at: np.ndarray) -> None:
        words = _words(state, at, row, size)
        store_words(bytes_of(memories), find(state, memories, at), words, size)

    return run


SHARED = _shared, attrgetter("shared")
LOCAL = _local, attrgetter("stacks")


def load_constant(instruction: Instruction):
    """LDC, ULDC."""
    to, place = instruction.operands
    size, row = size_of(instruction), register_row(to)
    bank, index, offset = constant_place(place)

    def run(state: State, memories: Memories, at: np.ndarray) -> None:
        places = np.full(len(at), offset, np.int64)
        if index is not None:
            places += state.register[index][at].view(np.int32)
        data = state.banks[bank]
        words = load_words(data, places, size)
        for number, word in enumerate(_signed(words, instruction)):
            write(state, row + number, at, word)

    return run


def shuffle(instruction: Instruction):
    """SHFL: the value of another lane, as PTX defines it."""
    flag, to, a, b, c = instruction.operands
    kind, row, flag_row = instruction.modifiers[0], register_row(to), predicate_row(flag)
    value, argument, limit = register_row(a), reader(b), reader(c)

    def run(state: State, memories: Memories, at: np.ndarray) -> None:
        lane = state.lane[at]
        by = np.asarray(argument(state, at)).astype(np.int64)
        clamp = np.asarray(limit(state, at)).astype(np.int64)
        segment = clamp >> 8 & 31
        first, last = lane & segment, (lane & segment) | (clamp & 31 & ~segment)
        if kind == "BFLY":
            source, inside = lane ^ by, (lane ^ by) <= last
        elif kind == "UP":
            source, inside = lane - by, lane - by >= (lane & segment)
        elif kind == "DOWN":
            source, inside = lane + by, lane + by <= last
        else:
            source, inside = first | (by & 31 & ~segment), (first | (by & 31 & ~segment)) <= last
        source = at - lane + np.where(inside, source, lane)
        write(state, row, at, state.register[value][source])
        write_predicate(state, flag_row, at, inside)
        block = np.unique(state.warp[at]) // (state.lanes // WARP)
        np.add.at(memories.traffic.lsu_cycles, block, 1)

    return run


def vote(instruction: Instruction):
    """VOTE, VOTEU: whether a predicate holds in any or in all lanes, and in which."""
    *to, flag, source = instruction.operands
    holds, flag_row = predicate(source), predicate_row(flag)
    row = register_row(to[0]) if to else None
    every = "ALL" in instruction.modifiers

    def run(state: State, memories: Memories, at: np.ndarray) -> None:
        warp, yes = state.warp[at], holds(state, at)
        asked = np.bincount(warp)
        agreed = np.bincount(warp, weights=yes)
        result = agreed == asked if every else agreed > 0
        write_predicate(state, flag_row, at, result[warp])
        if row is not None:
            bits = np.bincount(warp, weights=yes * (1 << state.lane[at]))
            write(state, row, at, bits.astype(U32)[warp])

    return run


ACCESSES = {
    **dict.fromkeys(("VOTE", "VOTEU"), vote),
    "LDG": load_global,
    "STG": store_global,
    "LDS": lambda instruction: _load_own(instruction, *SHARED),
    "STS": lambda instruction: _store_own(instruction, *SHARED),
    "LDL": lambda instruction: _load_own(instruction, *LOCAL),
    "STL": lambda instruction: _store_own(instruction, *LOCAL),
    **dict.fromkeys(("LDC", "ULDC"), load_constant),
    "SHFL": shuffle,
}
