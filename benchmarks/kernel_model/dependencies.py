"""What an instruction has to wait for and what it makes others wait for."""

from __future__ import annotations

from .accesses import size_of
from .disassembly import Instruction
from .operands import is_predicate, rows_of
from .pipes import CONTROL, pipe_of
from .state import REGISTERS, TRUE, UNIFORMS, predicate_row

_FIRST_PREDICATE = REGISTERS + UNIFORMS
_TWO_WRITTEN = {"ISETP", "UISETP", "FSETP", "DSETP", "PLOP3", "UPLOP3", "SHFL"}
_FROM_PREDICATES = {"P2R", "UP2UR"}
_DOUBLE = {"DADD", "DMUL", "DFMA", "DSETP"}


def _written(instruction: Instruction) -> int:
    """Say how many operands, the first ones, are written."""
    opcode, operands = instruction.opcode, instruction.operands
    if opcode.startswith("ST") or pipe_of(instruction) == CONTROL:
        return 0
    if opcode in _TWO_WRITTEN or (opcode == "LOP3" and is_predicate(operands[0])):
        return 2
    if opcode in ("VOTE", "VOTEU"):
        return len(operands) - 1
    count = 1
    if opcode in _FROM_PREDICATES:
        return count
    while count < len(operands) and is_predicate(operands[count]):
        count += 1
    return count


def _registers_written(instruction: Instruction) -> int:
    modifiers = instruction.modifiers
    if instruction.opcode.startswith(("LD", "ULDC")):
        return max(1, size_of(instruction) // 4)
    wide = "WIDE" in modifiers or instruction.opcode in _DOUBLE
    wide |= instruction.opcode == "CS2R" and "32" not in modifiers
    wide |= instruction.opcode == "I2F" and "F64" in modifiers
    wide |= instruction.opcode == "F2F" and modifiers[0] == "F64"
    wide |= instruction.opcode == "F2I" and bool({"U64", "S64"} & set(modifiers))
    return 2 if wide else 1


def _registers_read(instruction: Instruction, number: int) -> int:
    modifiers, opcode = instruction.modifiers, instruction.opcode
    if opcode.startswith("ST"):
        return max(1, size_of(instruction) // 4) if number == 1 else 1
    wide = opcode in _DOUBLE or (opcode == "F2F" and modifiers[1] == "F64")
    wide |= opcode == "I2F" and bool({"U64", "S64"} & set(modifiers))
    third = number == len(instruction.operands) - 1
    wide |= third and opcode in ("IMAD", "UIMAD") and bool({"WIDE", "HI"} & set(modifiers))
    wide |= opcode in ("RET", "CALL")
    return 2 if wide else 1


def rows_written(instruction: Instruction) -> list[int]:
    """Give the rows of registers and predicates that an instruction writes."""
    if instruction.opcode == "R2P":
        bits = int(instruction.operands[-1], 16)
        return [_FIRST_PREDICATE + n for n in range(TRUE) if bits >> n & 1]
    rows = []
    for operand in instruction.operands[: _written(instruction)]:
        rows += rows_of(operand, _registers_written(instruction))
    return rows


def rows_read(instruction: Instruction) -> list[int]:
    """Give the rows that an instruction reads, its guard's among them.

    Example:
        >>> from .disassembly import parse_instruction
        >>> line = " /*0000*/ @P0 IMAD.WIDE R2, R8, 0x4, R4 ;"
        >>> rows_read(parse_instruction(line)), rows_written(parse_instruction(line))
        ([320, 8, 4, 5], [2, 3])
    """
    rows = rows_of(instruction.guard) if instruction.guard else []
    for number in range(_written(instruction), len(instruction.operands)):
        rows += rows_of(instruction.operands[number], _registers_read(instruction, number))
    if instruction.opcode in _FROM_PREDICATES:
        bits = int(instruction.operands[-1], 16)
        first = _FIRST_PREDICATE + (predicate_row("UP0") if instruction.opcode == "UP2UR" else 0)
        rows += [first + n for n in range(TRUE) if bits >> n & 1]
    return rows
