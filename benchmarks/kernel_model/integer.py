"""What integer, logic and move instructions do; the uniform ones (``UIADD3``) do the same.

Each function takes an instruction and returns what it does to a state, for threads of an index.
What an instruction means is known from NVIDIA's list of names, from PTX, whose instructions most of
them are, and from the numbers that kernels must come to (tests/kernel_model).
"""

from __future__ import annotations

import operator

import numpy as np

from .disassembly import Instruction
from .operands import (
    is_predicate,
    predicate,
    reader,
    write,
    write_pair,
    write_predicate,
)
from .state import TRUE, predicate_row, register_row

U32, U64, S32, S64 = np.uint32, np.uint64, np.int32, np.int64
_LOW = U64(0xFFFFFFFF)


def leading(operands: tuple[str, ...]) -> tuple[list[str], list[str], list[str]]:
    """Divide operands: the register written, predicates written, what is read.

    Predicates behind the last other operand are read: the carries of the extended forms.
    """
    register, *rest = operands
    written = []
    while rest and is_predicate(rest[0]):
        written.append(rest.pop(0))
    return [register], written, rest


def _carries(read: list[str]) -> tuple[list[str], list]:
    """Take the predicates off the end of what is read."""
    carried = []
    while read and is_predicate(read[-1]):
        carried.insert(0, predicate(read.pop()))
    return read, carried


def _addend(operand: str):
    """Read a summand as 64 bits so that its negative carries as the two's complement does."""
    bits = reader(operand.lstrip("-~"))
    if operand.startswith("-") and not operand.startswith("-0x"):
        return lambda state, at: U64(1 << 32) - bits(state, at).astype(U64)
    if operand.startswith("~"):
        return lambda state, at: (~bits(state, at)).astype(U64)
    bits = reader(operand)
    return lambda state, at: np.asarray(bits(state, at)).astype(U64)


def _sum(instruction: Instruction, parts: list, carried: list):
    """Write the sum of 64-bit parts and carries, and the carries out."""
    (to,), out, _ = leading(instruction.operands)
    row, rows = register_row(to), [predicate_row(name) for name in out]

    def run(state, at):
        total = parts[0](state, at)
        second = None
        for number, part in enumerate(parts[1:]):
            total = total + part(state, at)
            if number == 0 and len(rows) == 2:  # a carry of each of the two additions
                second = total >> U64(32) != 0
                total = total & _LOW
        for carry in carried:
            total = total + carry(state, at).astype(U64)
        over = total >> U64(32) != 0
        write(state, row, at, (total & _LOW).astype(U32))
        if rows:
            write_predicate(state, rows[0], at, over if second is None else second)
        if second is not None:
            write_predicate(state, rows[1], at, over)

    return run


def add(instruction: Instruction):
    """IADD3, VIADD: the sum of up to three, ``.X`` with carries."""
    *_, read = leading(instruction.operands)
    read, carried = _carries(read)
    return _sum(instruction, [_addend(operand) for operand in read], carried)


def multiply_add(instruction: Instruction):
    """IMAD: a * b + c, of the product the lower half, the upper (``.HI``) or both (``.WIDE``)."""
    (to,), out, read = leading(instruction.operands)
    (a, b, c), carried = _carries(read)
    signed = "U32" not in instruction.modifiers
    wide, high = "WIDE" in instruction.modifiers, "HI" in instruction.modifiers
    first, second = reader(a), reader(b)
    third = reader(c, wide=wide or high)
    row = register_row(to)
    if not (wide or high):

        def run(state, at):
            value = first(state, at) * second(state, at) + third(state, at)
            for carry in carried:
                value = value + carry(state, at).astype(U32)
            write(state, row, at, value)

        return run
    carry_row = predicate_row(out[0]) if out else None

    def widen(value):
        return value.astype(U32).view(S32).astype(S64).view(U64) if signed else value.astype(U64)

    def run(state, at):
        x, y = np.asarray(first(state, at)), np.asarray(second(state, at))
        product = widen(x) * widen(y)
        value = product + third(state, at)
        for carry in carried:
            value = value + carry(state, at).astype(U64)
        if carry_row is not None:
            write_predicate(state, carry_row, at, value < product)
        if wide:
            write_pair(state, row, at, value)
        else:
            write(state, row, at, (value >> U64(32)).astype(U32))

    return run


def shift_add(instruction: Instruction):
    """LEA: (a << n) + b, of ``.HI`` the upper half of a shifted pair."""
    *_, read = leading(instruction.operands)
    read, carried = _carries(read)
    count = U64(int(read[-1], 16))
    high = "HI" in instruction.modifiers
    negative = read[0].startswith("-") and not high
    low = reader(read[0].lstrip("-") if negative else read[0])
    extended = "SX32" in instruction.modifiers
    above = reader(read[2]) if high and not extended else None

    def shifted(state, at):
        value = np.asarray(low(state, at))
        if not high:
            value = value.astype(U64) << count & _LOW
            return U64(1 << 32) - value if negative else value
        if extended:
            both = value.view(S32).astype(S64).view(U64)
        else:
            both = above(state, at).astype(U64) << U64(32) | value
        return both << count >> U64(32)

    return _sum(instruction, [shifted, _addend(read[1])], carried)


def shift(instruction: Instruction):
    """SHF: shifts of a word or a pair, to the left or the right."""
    to, a, n, c = instruction.operands
    low, count, high = reader(a), reader(n), reader(c)
    left, upper = "L" in instruction.modifiers, "HI" in instruction.modifiers
    signed = bool({"S32", "S64"} & set(instruction.modifiers))
    word = "U32" in instruction.modifiers or "S32" in instruction.modifiers
    row = register_row(to)

    def run(state, at):
        first, second = low(state, at).astype(U64), high(state, at)
        by = np.minimum(count(state, at).astype(U64), U64(63))
        if word and upper:  # the upper word alone, with what comes in from the lower one
            by = np.minimum(by, U64(32))
        pair = second.astype(U64) << U64(32) | first
        if left:
            value = (first if word else pair) << by
            value = value >> U64(32) if upper else value
        elif signed:
            value = pair.view(S64) >> by.astype(S64)
            value = value >> S64(32) if upper else value
        else:
            value = pair >> by
            value = value >> U64(32) if upper else value
        write(state, row, at, value.astype(U64).astype(U32))

    return run


def _table(terms: list, table: int):
    """Evaluate a logic function of three from its table of eight bits, bit by bit."""
    a, b, c = terms
    value = np.zeros_like(a | b | c)
    for number in range(8):
        if table >> number & 1:
            value = value | (
                (a if number & 4 else ~a) & (b if number & 2 else ~b) & (c if number & 1 else ~c)
            )
    return value


def logic(instruction: Instruction):
    """LOP3: any function of three words; a predicate says whether the result is not 0."""
    operands = instruction.operands
    flag = predicate_row(operands[0]) if is_predicate(operands[0]) else None
    to, a, b, c, table, _ = operands[flag is not None :]
    terms, number, row = [reader(a), reader(b), reader(c)], int(table, 16), register_row(to)

    def run(state, at):
        value = _table([term(state, at) for term in terms], number)
        write(state, row, at, value)
        if flag is not None:
            write_predicate(state, flag, at, value != 0)

    return run


def predicate_logic(instruction: Instruction):
    """PLOP3: two functions of three predicates."""
    first, second, a, b, c, *tables = instruction.operands
    terms = [predicate(a), predicate(b), predicate(c)]

    def run(state, at):
        values = [term(state, at) for term in terms]
        results = [_table(values, int(table, 16)) for table in tables]
        for name, result in zip((first, second), results, strict=True):
            write_predicate(state, predicate_row(name), at, result)

    return run


COMPARE = {
    "LT": operator.lt,
    "LE": operator.le,
    "GT": operator.gt,
    "GE": operator.ge,
    "EQ": operator.eq,
    "NE": operator.ne,
}
COMBINE = {"AND": operator.and_, "OR": operator.or_, "XOR": operator.xor}


def set_predicate(instruction: Instruction):
    """ISETP: a comparison, joined with a predicate; ``.EX`` goes on from the lower words'."""
    name, *modifiers = instruction.modifiers
    first, second, a, b, joined, *lower = instruction.operands
    x, y, also = reader(a), reader(b), predicate(joined)
    below = predicate(lower[0]) if lower else None
    compare = COMPARE[name]
    combine = next(COMBINE[m] for m in modifiers if m in COMBINE)
    type_ = U32 if "U32" in modifiers else S32
    strict = COMPARE[name[0] + "T"] if name in ("LE", "GE") else compare

    def run(state, at):
        left, right = x(state, at).view(type_), y(state, at).view(type_)
        if below is None:
            result = compare(left, right)
        elif name == "NE":
            result = (left != right) | below(state, at)
        elif name == "EQ":
            result = (left == right) & below(state, at)
        else:
            result = strict(left, right) | ((left == right) & below(state, at))
        other = also(state, at)
        write_predicate(state, predicate_row(first), at, combine(result, other))
        write_predicate(state, predicate_row(second), at, combine(~np.asarray(result), other))

    return run


def extreme(instruction: Instruction):
    """IMNMX, VIMNMX, VIADDMNMX: the smaller of two where the predicate holds, else the larger."""
    to, *read, which = instruction.operands
    readers, smaller, row = (
        [reader(operand) for operand in read],
        predicate(which),
        register_row(to),
    )
    type_ = U32 if "U32" in instruction.modifiers else S32

    def run(state, at):
        values = [r(state, at) for r in readers]
        if len(values) == 3:
            values = [values[0] + values[1], values[2]]
        a, b = (np.asarray(value).view(type_) for value in values)
        value = np.where(smaller(state, at), np.minimum(a, b), np.maximum(a, b))
        write(state, row, at, value.view(U32))

    return run


def select(instruction: Instruction):
    """SEL, FSEL: a where the predicate holds, else b."""
    to, a, b, which = instruction.operands
    kind = "float" if instruction.opcode == "FSEL" else "int"
    x, y, first, row = reader(a, kind), reader(b, kind), predicate(which), register_row(to)
    return lambda state, at: write(
        state, row, at, np.where(first(state, at), x(state, at), y(state, at))
    )


def move(instruction: Instruction):
    """MOV and its kin, between general and uniform registers too."""
    to, source = instruction.operands[:2]
    value, row = reader(source), register_row(to)
    return lambda state, at: write(state, row, at, value(state, at))


def absolute(instruction: Instruction):
    """IABS."""
    to, source = instruction.operands
    value, row = reader(source), register_row(to)
    return lambda state, at: write(state, row, at, np.abs(value(state, at).view(S32)).view(U32))


def permute(instruction: Instruction):
    """PRMT: four bytes chosen out of eight, or the sign of one eight times."""
    to, a, selector, b = instruction.operands
    low, high, choice, row = reader(a), reader(b), reader(selector), register_row(to)

    def run(state, at):
        both = high(state, at).astype(U64) << U64(32) | low(state, at)
        chosen = choice(state, at)
        value = U64(0)
        for number in range(4):
            nibble = (chosen >> U32(4 * number)).astype(U64)
            byte = both >> ((nibble & U64(7)) * U64(8)) & U64(0xFF)
            sign = np.where(byte & U64(0x80), U64(0xFF), U64(0))
            value = value | np.where(nibble & U64(8), sign, byte) << U64(8 * number)
        write(state, row, at, np.asarray(value).astype(U32))

    return run


def predicates_to_register(instruction: Instruction):
    """P2R, UP2UR: predicates 0 to 6 into the bits of a mask, the other bits from a register."""
    to, _, a, mask = instruction.operands
    others, row, bits = reader(a), register_row(to), int(mask, 16)
    first = predicate_row("UP0") if instruction.opcode == "UP2UR" else 0

    def run(state, at):
        value = others(state, at) & U32(~bits & 0xFFFFFFFF)
        for number in range(TRUE):
            if bits >> number & 1:
                value = value | state.predicate[first + number][at].astype(U32) << U32(number)
        write(state, row, at, value)

    return run


def register_to_predicates(instruction: Instruction):
    """R2P: the other way round."""
    _, a, mask = instruction.operands
    value, bits = reader(a), int(mask, 16)

    def run(state, at):
        word = value(state, at)
        for number in range(TRUE):
            if bits >> number & 1:
                write_predicate(state, number, at, word >> U32(number) & U32(1) != 0)

    return run


def special(instruction: Instruction):
    """S2R, S2UR, CS2R: the number of a thread or a block, or a pair of zeros."""
    to, name = instruction.operands
    row = register_row(to)
    if instruction.opcode == "CS2R" and "32" not in instruction.modifiers:
        return lambda state, at: write_pair(state, row, at, state.special[name][at])
    return lambda state, at: write(state, row, at, state.special[name][at].astype(U32))


INTEGER = {
    **dict.fromkeys(("IADD3", "VIADD", "UIADD3"), add),
    **dict.fromkeys(("IMAD", "UIMAD"), multiply_add),
    **dict.fromkeys(("LEA", "ULEA"), shift_add),
    **dict.fromkeys(("SHF", "USHF"), shift),
    **dict.fromkeys(("LOP3", "ULOP3"), logic),
    **dict.fromkeys(("PLOP3", "UPLOP3"), predicate_logic),
    **dict.fromkeys(("ISETP", "UISETP"), set_predicate),
    **dict.fromkeys(("IMNMX", "VIMNMX", "VIADDMNMX", "UIMNMX"), extreme),
    **dict.fromkeys(("SEL", "USEL", "FSEL"), select),
    **dict.fromkeys(("MOV", "UMOV", "R2UR"), move),
    "IABS": absolute,
    **dict.fromkeys(("PRMT", "UPRMT"), permute),
    **dict.fromkeys(("P2R", "UP2UR"), predicates_to_register),
    "R2P": register_to_predicates,
    **dict.fromkeys(("S2R", "S2UR", "CS2R"), special),
}
