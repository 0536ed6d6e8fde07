"""The instructions of compiled kernels, from the text of ``cuobjdump -sass``."""

from __future__ import annotations

import re
from dataclasses import dataclass

BYTES = 16  # of an instruction

_FUNCTION = re.compile(r"^\s+Function : (\S+)$")
_INSTRUCTION = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(?:@(!?U?P\w+)\s+)?([^\s;]+)\s*([^;]*);")


@dataclass(frozen=True)
class Instruction:
    """One instruction: ``@guard opcode.modifiers operands``."""

    address: int
    guard: str
    opcode: str
    modifiers: tuple[str, ...]
    operands: tuple[str, ...]

    @property
    def text(self) -> str:
        name = ".".join((self.opcode, *self.modifiers))
        guard = f"@{self.guard} " if self.guard else ""
        return f"{guard}{name} {', '.join(self.operands)}".strip()

    @property
    def target(self) -> int | None:
        """The address that the instruction may go to, where the code names one."""
        if self.opcode in ("BRA", "CALL", "BSSY", "WARPSYNC") and self.operands:
            last = self.operands[-1]
            return int(last, 16) if re.fullmatch(r"0x[0-9a-f]+", last) else None
        return None


def parse_instruction(line: str) -> Instruction | None:
    """Read one line of a disassembly; None where it holds no instruction.

    Example:
        >>> parse_instruction("  /*0070*/  @P0 LDG.E.128 R4, [R2.64+0x10] ;").modifiers
        ('E', '128')
    """
    found = _INSTRUCTION.match(line)
    if not found:
        return None
    address, guard, name, rest = found.groups()
    opcode, *modifiers = name.split(".")
    operands = tuple(part.strip().replace(".reuse", "") for part in rest.split(",") if part.strip())
    return Instruction(int(address, 16), guard or "", opcode, tuple(modifiers), operands)


def parse(text: str) -> dict[str, list[Instruction]]:
    """Read a disassembly; return the instructions of each function by its symbol.

    Instructions lie 16 bytes apart, the first at 0; what pads the end of a function is left out.

    Raises:
        ValueError: the text holds no function.
    """
    functions: dict[str, list[Instruction]] = {}
    body: list[Instruction] | None = None
    for line in text.splitlines():
        if found := _FUNCTION.match(line):
            body = functions.setdefault(found[1], [])
        elif body is not None and (instruction := parse_instruction(line)):
            body.append(instruction)
    if not functions:
        raise ValueError("expected the output of cuobjdump -sass, got a text without functions")
    return {symbol: _without_padding(body) for symbol, body in functions.items()}


def _without_padding(body: list[Instruction]) -> list[Instruction]:
    """Cut the endless loop and the no-operations after the last instruction."""
    end = len(body)
    while end and body[end - 1].opcode == "NOP":
        end -= 1
    if end and body[end - 1].opcode == "BRA" and body[end - 1].target == body[end - 1].address:
        end -= 1
    return body[:end]
