"""Basic blocks and loops of a kernel, and how its instructions divide among the pipes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from .disassembly import BYTES, Instruction
from .pipes import pipe_of

_ENDS = {"EXIT", "RET", "BRX", "BRXU", "JMP"}  # the next instruction is not reached, but by a guard


@dataclass
class BasicBlock:
    """Instructions that are entered at the first and left after the last."""

    first: int  # the number of an instruction, not its address
    last: int
    successors: list[int] = field(default_factory=list)  # numbers of blocks

    @property
    def size(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True)
class Loop:
    """A natural loop: the blocks from which its head is reached again without leaving it."""

    head: int
    blocks: frozenset[int]


def basic_blocks(code: Sequence[Instruction]) -> list[BasicBlock]:
    """Divide a kernel into basic blocks.

    A call of a subroutine inside the kernel (a division, mostly) goes on behind it: subroutines
    are blocks of their own that nothing here leads to.
    """
    starts = {0}
    for number, instruction in enumerate(code):
        if instruction.opcode in ("BRA", "CALL"):
            if instruction.target is not None:
                starts.add(instruction.target // BYTES)
            starts.add(number + 1)
        elif instruction.opcode in _ENDS:
            starts.add(number + 1)
    order = sorted(start for start in starts if start < len(code))
    block_at = {start: number for number, start in enumerate(order)}
    blocks = []
    for number, start in enumerate(order):
        last = (order[number + 1] if number + 1 < len(order) else len(code)) - 1
        block = BasicBlock(start, last)
        end = code[last]
        if end.opcode == "BRA" and end.target is not None:
            block.successors.append(block_at[end.target // BYTES])
        conditional = bool(end.guard) or (end.opcode == "BRA" and len(end.operands) > 1)
        stops = end.opcode == "BRA" or end.opcode in _ENDS
        if (conditional or not stops) and last + 1 < len(code):
            block.successors.append(number + 1)
        blocks.append(block)
    return blocks


def loops(blocks: Sequence[BasicBlock]) -> list[Loop]:
    """Find the loops, those with the same head as one, in the order of their heads."""
    before: list[list[int]] = [[] for _ in blocks]
    for number, block in enumerate(blocks):
        for successor in block.successors:
            before[successor].append(number)
    above = _dominators(blocks, before)
    found: dict[int, set[int]] = {}
    for number, block in enumerate(blocks):
        for head in block.successors:
            if head not in above[number]:
                continue
            body = found.setdefault(head, {head})
            waiting = [number]
            while waiting:
                inside = waiting.pop()
                if inside not in body:
                    body.add(inside)
                    waiting += before[inside]
    return [Loop(head, frozenset(body)) for head, body in sorted(found.items())]


def _dominators(blocks: Sequence[BasicBlock], before: Sequence[list[int]]) -> list[set[int]]:
    """Give for each block those that every way to it passes, itself included.

    The beginning of a subroutine is a way in, like the beginning of the kernel.
    """
    every = set(range(len(blocks)))
    above = [set(every) if before[number] else {number} for number in range(len(blocks))]
    above[0] = {0}
    changed = True
    while changed:
        changed = False
        for number in range(1, len(blocks)):
            if before[number]:
                now = set.intersection(*(above[b] for b in before[number])) | {number}
                changed |= now != above[number]
                above[number] = now
    return above


def by_pipe(code: Sequence[Instruction]) -> Counter[str]:
    """Count instructions by pipe."""
    return Counter(map(pipe_of, code))
