"""What floating-point instructions do, in float32 and float64.

A fused multiply-add of float32 is made in float64 and rounded, directed rounding is ignored, and
MUFU is as exact as numpy: the last bit may differ from a GPU's, which no loop of ours depends on.
"""

from __future__ import annotations

import operator

import numpy as np

from .disassembly import Instruction
from .integer import COMBINE, S32, S64, U32, U64
from .operands import predicate, reader, write, write_pair, write_predicate
from .state import predicate_row, register_row

F32, F64 = np.float32, np.float64


def _floats(operands, kind: str = "float"):
    """Make readers of operands that give floats."""
    type_ = F64 if kind == "double" else F32
    bits = [reader(operand, kind) for operand in operands]
    return [lambda state, at, b=b: np.asarray(b(state, at)).view(type_) for b in bits]


def single(instruction: Instruction):
    """FADD, FMUL, FFMA."""
    to, *read = instruction.operands
    values, row, opcode = _floats(read), register_row(to), instruction.opcode
    saturates = "SAT" in instruction.modifiers

    def run(state, at):
        a, b, *c = (value(state, at) for value in values)
        if opcode == "FADD":
            result = a + b
        elif opcode == "FMUL":
            result = a * b
        else:
            result = (a.astype(F64) * b.astype(F64) + c[0].astype(F64)).astype(F32)
        if saturates:
            result = np.clip(np.nan_to_num(result, nan=0.0), F32(0), F32(1))
        write(state, row, at, np.asarray(result, F32).view(U32))

    return run


def double(instruction: Instruction):
    """DADD, DMUL, DFMA."""
    to, *read = instruction.operands
    values, row, opcode = _floats(read, "double"), register_row(to), instruction.opcode

    def run(state, at):
        a, b, *c = (value(state, at) for value in values)
        result = a + b if opcode == "DADD" else a * b + (c[0] if c else 0)
        write_pair(state, row, at, np.asarray(result, F64).view(U64))

    return run


_ORDERED = {
    "LT": operator.lt,
    "LE": operator.le,
    "GT": operator.gt,
    "GE": operator.ge,
    "EQ": operator.eq,
}


def compare(name: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compare floats; a name that ends in U also holds where one is not a number."""
    nan = np.isnan(a) | np.isnan(b)
    if name in ("NAN", "NUM"):
        return nan if name == "NAN" else ~nan
    if name in ("NE", "NEU"):
        return (a != b) & ~nan if name == "NE" else (a != b)
    result = _ORDERED[name.removesuffix("U")](a, b)
    return result | nan if name.endswith("U") else result


def set_predicate(instruction: Instruction):
    """FSETP, DSETP: a comparison, joined with a predicate."""
    first, second, a, b, joined = instruction.operands
    kind = "double" if instruction.opcode == "DSETP" else "float"
    (x, y), also = _floats((a, b), kind), predicate(joined)
    name = instruction.modifiers[0]
    combine = next(COMBINE[m] for m in instruction.modifiers if m in COMBINE)

    def run(state, at):
        result, other = compare(name, x(state, at), y(state, at)), also(state, at)
        write_predicate(state, predicate_row(first), at, combine(result, other))
        write_predicate(state, predicate_row(second), at, combine(~np.asarray(result), other))

    return run


def extreme(instruction: Instruction):
    """FMNMX: the smaller where the predicate holds, else the larger."""
    to, a, b, which = instruction.operands
    (x, y), smaller, row = _floats((a, b)), predicate(which), register_row(to)
    keeps_nan = "NAN" in instruction.modifiers
    least, most = (np.minimum, np.maximum) if keeps_nan else (np.fmin, np.fmax)

    def run(state, at):
        left, right = x(state, at), y(state, at)
        value = np.where(smaller(state, at), least(left, right), most(left, right))
        write(state, row, at, value.astype(F32).view(U32))

    return run


_FUNCTIONS = {
    "RCP": lambda x: F32(1) / x,
    "RSQ": lambda x: F32(1) / np.sqrt(x),
    "SQRT": np.sqrt,
    "EX2": np.exp2,
    "LG2": np.log2,
    "SIN": np.sin,
    "COS": np.cos,
    "TANH": np.tanh,
}
_UPPER = {"RCP64H": lambda x: 1 / x, "RSQ64H": lambda x: 1 / np.sqrt(x)}


def function(instruction: Instruction):
    """MUFU: a reciprocal and the like; ``64H`` of the upper half of a double."""
    to, source = instruction.operands
    name, row = instruction.modifiers[0], register_row(to)
    if name in _UPPER:
        upper = reader(source)

        def run(state, at):
            wide = (upper(state, at).astype(U64) << U64(32)).view(F64)
            bits = np.asarray(_UPPER[name](wide)).view(U64)
            write(state, row, at, (bits >> U64(32)).astype(U32))

        return run
    (value,) = _floats((source,))
    return lambda state, at: write(
        state, row, at, np.asarray(_FUNCTIONS[name](value(state, at)), F32).view(U32)
    )


def to_float(instruction: Instruction):
    """I2F, I2FP: an integer to a float, ``.RP`` rounded up."""
    to, source = instruction.operands
    modifiers, row = instruction.modifiers, register_row(to)
    wide = "S64" in modifiers or "U64" in modifiers
    unsigned = "U32" in modifiers or "U64" in modifiers
    type_ = {(0, 0): S32, (0, 1): U32, (1, 0): S64, (1, 1): U64}[wide, unsigned]
    value = reader(source, wide=wide)

    def run(state, at):
        number = np.asarray(value(state, at)).view(type_)
        if "F64" in modifiers:
            write_pair(state, row, at, number.astype(F64).view(U64))
            return
        result = number.astype(F32)
        if "RP" in modifiers:
            below = result.astype(F64) < number.astype(F64)
            result = np.where(below, np.nextafter(result, F32(np.inf)), result)
        write(state, row, at, np.asarray(result, F32).view(U32))

    return run


def to_integer(instruction: Instruction):
    """F2I: a float, cut off, to an integer."""
    to, source = instruction.operands
    row, wide = register_row(to), bool({"U64", "S64"} & set(instruction.modifiers))
    kind = "double" if "F64" in instruction.modifiers else "float"
    signed = not {"U32", "U64"} & set(instruction.modifiers)
    (value,) = _floats((source,), kind)
    least = -(2.0 ** (63 if wide else 31)) if signed else 0.0
    most = 2.0 ** ((63 if signed else 64) if wide else (31 if signed else 32))

    def run(state, at):
        number = np.nan_to_num(np.trunc(value(state, at).astype(F64)), nan=0.0)
        number = np.clip(number, least, np.nextafter(most, 0))
        whole = number.astype(S64).view(U64) if signed else number.astype(U64)
        if wide:
            write_pair(state, row, at, whole)
        else:
            write(state, row, at, whole.astype(U32))

    return run


def convert(instruction: Instruction):
    """F2F: between float32 and float64, and float32 to bfloat16, into the lower half of a word."""
    to, source = instruction.operands
    row = register_row(to)
    if instruction.modifiers[:2] == ("BF16", "F32"):
        (value,) = _floats((source,))
        return lambda state, at: write(state, row, at, _brain(value(state, at)))
    if instruction.modifiers[:2] == ("F64", "F32"):
        (value,) = _floats((source,))
        return lambda state, at: write_pair(state, row, at, value(state, at).astype(F64).view(U64))
    if instruction.modifiers[:2] == ("F32", "F64"):
        (value,) = _floats((source,), "double")
        return lambda state, at: write(state, row, at, value(state, at).astype(F32).view(U32))
    raise ValueError(f"expected F2F of F32 and F64, or to BF16, got {instruction.text}")


def check_division(instruction: Instruction):
    """FCHK: whether a / b needs the slow way, because an exponent is extreme."""
    to, a, b = instruction.operands
    (x, y), row = _floats((a, b)), predicate_row(to)

    def run(state, at):
        left, right = np.abs(x(state, at)), np.abs(y(state, at))
        normal = (right > 2.0**-126) & (right < 2.0**126) & (left < 2.0**126)
        normal &= (left == 0) | ((left > 2.0**-100) & (left / right > 2.0**-126))
        write_predicate(state, row, at, ~normal)

    return run


def half_constants(instruction: Instruction):
    """HFMA2 as the compiler moves constants by it: -0 * 0 + two halves."""
    to, a, b, *halves = instruction.operands
    if a.lstrip("-") != "RZ" or b != "RZ" or len(halves) != 2:
        raise ValueError(f"expected HFMA2 of zeros and two constants, got {instruction.text}")
    upper, lower = (reader(text, "half") for text in halves)
    row = register_row(to)
    return lambda state, at: write(state, row, at, upper(state, at) << U32(16) | lower(state, at))


def _half(value):
    with np.errstate(over="ignore"):  # to infinity
        return value.astype(np.float16).view(np.uint16).astype(U32)


def _brain(value):
    """Round to bfloat16, ties to even."""
    bits = value.view(U32)
    rounded = bits + U32(0x7FFF) + (bits >> U32(16) & U32(1)) >> U32(16)
    return np.where(np.isnan(value), U32(0x7FFF), rounded)


def pack_halves(instruction: Instruction):
    """F2FP: two float32 to the upper and the lower half of a word, in float16 or bfloat16."""
    to, *read = instruction.operands
    values, row = _floats(read), register_row(to)
    half = _brain if "BF16" in instruction.modifiers else _half

    def run(state, at):
        upper, lower = (half(value(state, at)) for value in values)
        write(state, row, at, upper << U32(16) | lower)

    return run


def widen_half(instruction: Instruction):
    """HADD2.F32 as the compiler widens a half by it: -0 + one half of a word."""
    to, zero, source = instruction.operands
    name, _, half = source.partition(".")
    if zero.lstrip("-") != "RZ" or "F32" not in instruction.modifiers or not half:
        raise ValueError(f"expected HADD2.F32 of zero and a half, got {instruction.text}")
    word, row, shift = reader(name), register_row(to), U32(16 if half.startswith("H1") else 0)

    def run(state, at):
        half = (word(state, at) >> shift & U32(0xFFFF)).astype(np.uint16).view(np.float16)
        write(state, row, at, half.astype(F32).view(U32))

    return run


FLOATING = {
    "F2FP": pack_halves,
    "HADD2": widen_half,
    **dict.fromkeys(("FADD", "FMUL", "FFMA"), single),
    **dict.fromkeys(("DADD", "DMUL", "DFMA"), double),
    **dict.fromkeys(("FSETP", "DSETP"), set_predicate),
    "FMNMX": extreme,
    "MUFU": function,
    **dict.fromkeys(("I2F", "I2FP"), to_float),
    "F2I": to_integer,
    "F2F": convert,
    "FCHK": check_division,
    "HFMA2": half_constants,
}
