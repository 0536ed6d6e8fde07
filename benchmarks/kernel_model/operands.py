"""Operands of an instruction: what it reads and writes, and the rows it has to wait for."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from .state import (
    REGISTERS,
    TRUE,
    UNIFORM_ZERO,
    UNIFORMS,
    ZERO,
    State,
    predicate_row,
    register_row,
)

#: Gives an operand's bits, uint32 or uint64, for the threads of an index.
Reader = Callable[[State, object], np.ndarray]

_OPERAND = re.compile(r"(?P<sign>[-~!]?)(?P<bar>\|?)(?P<name>[^|]+)\|?")
_CONSTANT = re.compile(r"c\[0x([0-9a-f]+)\]\s?\[(?:(U?R\w+)\+?)?(-?0x[0-9a-f]+)?\]")
_SIGN = {32: np.uint32(1 << 31), 64: np.uint64(1 << 63)}


def split(operand: str) -> tuple[str, bool, str]:
    """Divide an operand into its sign, whether it is between bars, and the rest.

    Example:
        >>> split("-|R5|")
        ('-', True, 'R5')
    """
    if re.fullmatch(r"[-+]?(0x[0-9a-f]+|[\d.]+(e[-+]?\d+)?|INF|QNAN)", operand):
        return "", False, operand
    found = _OPERAND.fullmatch(operand)
    return found["sign"], bool(found["bar"]), found["name"]


def constant_place(name: str) -> tuple[int, int | None, int] | None:
    """Read ``c[0x0][R4+0x210]``: bank, row of the register or None, offset."""
    found = _CONSTANT.fullmatch(name)
    if not found:
        return None
    row = register_row(found[2]) if found[2] else None
    return int(found[1], 16), row, int(found[3] or "0", 16)


def _immediate(name: str, kind: str) -> int | None:
    """Give the bits of an immediate; those of a double are its upper half only."""
    if re.fullmatch(r"[-+]?0x[0-9a-f]+", name):
        return int(name, 16) & 0xFFFFFFFF
    try:
        number = float(name.replace("QNAN", "nan"))
    except ValueError:
        return None
    if kind == "double":
        return int(np.float64(number).view(np.uint64))
    if kind == "half":
        return int(np.float16(number).view(np.uint16))
    return int(np.float32(number).view(np.uint32)) if kind == "float" else int(number)


def reader(operand: str, kind: str = "int", wide: bool = False) -> Reader:
    """Make a reader of an operand: of integers, ``float`` or ``double`` by its kind.

    ``wide`` reads 64 bits, a pair of registers; a double is always wide. Minus turns an integer
    into its two's complement and the sign of a float; bars clear the sign.
    """
    sign, bar, name = split(operand)
    wide = wide or kind == "double"
    bits = _bits(name, kind, wide)
    if not sign and not bar:
        return bits
    top = _SIGN[64 if wide else 32]

    def read(state: State, at: object) -> np.ndarray:
        value = bits(state, at)
        if kind == "int":
            return ~value if sign == "~" else ~value + value.dtype.type(1)
        if bar:
            value = value & ~top
        return value ^ top if sign == "-" else value

    return read


def _bits(name: str, kind: str, wide: bool) -> Reader:
    """Make a reader of an operand without its sign."""
    type_ = np.uint64 if wide else np.uint32
    number = _immediate(name, kind)
    if number is not None:
        if wide and kind == "double" and name.lstrip("-").startswith("0x"):
            number <<= 32
        value = np.array(number, type_)
        return lambda state, at: value
    if place := constant_place(name):
        bank, row, offset = place
        size = 8 if wide else 4
        if row is not None:
            raise ValueError(f"expected a constant at a fixed place, got {name}")
        return lambda state, at: np.array(state.constant(bank, offset, size), type_)
    row = register_row(name.split(".")[0])
    if not wide:
        return lambda state, at: state.register[row][at]
    if row in (ZERO, UNIFORM_ZERO):
        return lambda state, at: np.array(0, np.uint64)
    return lambda state, at: pair(state, row, at)


def pair(state: State, row: int, at: object) -> np.ndarray:
    """Read two neighbouring registers as 64 bits."""
    high = state.register[row + 1][at].astype(np.uint64)
    return high << np.uint64(32) | state.register[row][at]


def predicate(operand: str) -> Callable[[State, object], np.ndarray]:
    """Make a reader of a predicate such as ``!P0``."""
    row = predicate_row(operand.lstrip("!"))
    if operand.startswith("!"):
        return lambda state, at: ~state.predicate[row][at]
    return lambda state, at: state.predicate[row][at]


def write(state: State, row: int, at: object, value: np.ndarray) -> None:
    """Write 32 bits to a register; RZ and URZ stay 0."""
    if row not in (ZERO, UNIFORM_ZERO):
        state.register[row][at] = value


def write_pair(state: State, row: int, at: object, value: np.ndarray) -> None:
    """Write 64 bits to two neighbouring registers."""
    if row not in (ZERO, UNIFORM_ZERO):
        value = np.asarray(value).astype(np.uint64)
        state.register[row][at] = (value & np.uint64(0xFFFFFFFF)).astype(np.uint32)
        state.register[row + 1][at] = (value >> np.uint64(32)).astype(np.uint32)


def write_predicate(state: State, row: int, at: object, value: np.ndarray) -> None:
    """Write a predicate; PT and UPT stay true."""
    if row % 8 != TRUE:
        state.predicate[row][at] = value


def is_predicate(operand: str) -> bool:
    return re.fullmatch(r"!?U?P[0-7T]", operand) is not None


def rows_of(operand: str, count: int = 1) -> list[int]:
    """Give the rows that an operand names, of ``count`` neighbouring registers each.

    Registers come first, uniform ones next, then predicates; those that never change are left out.

    Example:
        >>> rows_of("desc[UR4][R2.64+0x10]"), rows_of("!P1"), rows_of("R8", 2)
        ([260, 261, 2, 3], [321], [8, 9])
    """
    if is_predicate(operand):
        row = predicate_row(operand.lstrip("!"))
        return [] if row % 8 == TRUE else [REGISTERS + UNIFORMS + row]
    rows = []
    for name in re.findall(r"(?:desc\[)?U?R(?:Z|\d+)(?:\.64)?", operand):
        row = register_row(name.removeprefix("desc[").removesuffix(".64"))
        pairs = name.endswith(".64") or name.startswith("desc")
        if row not in (ZERO, UNIFORM_ZERO):
            rows += range(row, row + (2 if pairs else count))
    return rows
