"""Conversions between floating-point formats, as torch makes them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from kernel_model.cubin import Kernel
from kernel_model.disassembly import parse_instruction
from kernel_model.floating import FLOATING
from kernel_model.state import Launch, State

SPECIAL = [0.0, -1.5, 1.00390625, 1.01171875, -65520.0, 1e-41, 3e38, math.inf, math.nan]
NUMBERS = torch.cat([torch.tensor(SPECIAL), torch.linspace(-3.14159, 3, 23)])


def converted(text: str, *given: np.ndarray) -> np.ndarray:
    """What a warp has in R0 after an instruction that reads R1, R2 and so on."""
    instruction = parse_instruction(f"  /*0000*/  {text} ;")
    kernel = Kernel("k", "k", "sm_80", [instruction], registers=8, shared=0, stack=0, constants={})
    state = State(kernel, Launch("k", (1, 1, 1), (32, 1, 1), 0, b""), np.arange(1))
    for row, values in enumerate(given, 1):
        state.register[row] = values.view(np.uint32)
    FLOATING[instruction.opcode](instruction)(state, np.arange(32))
    return state.register[0]


def bits(numbers: torch.Tensor) -> np.ndarray:
    return numbers.view(torch.uint16).numpy().astype(np.uint32)


def test_one_number_to_bfloat16():
    found = converted("F2F.BF16.F32 R0, R1", NUMBERS.numpy())
    assert is_number(found, NUMBERS.bfloat16())


@pytest.mark.parametrize(
    ("name", "dtype"), [("F2FP.BF16.PACK_AB", torch.bfloat16), ("F2FP.PACK_AB", torch.float16)]
)
def test_two_numbers_to_one_word(name, dtype):
    upper = NUMBERS.flip(0)
    found = converted(f"{name} R0, R1, R2", upper.numpy(), NUMBERS.numpy())
    assert is_number(found & 0xFFFF, NUMBERS.to(dtype))
    assert is_number(found >> 16, upper.to(dtype))


def is_number(found: np.ndarray, expected: torch.Tensor) -> bool:
    """Whether these are the bits of numbers; those that are none have several."""
    same = found == bits(expected)
    return bool((same | expected.isnan().numpy()).all())


def test_what_is_not_known_is_refused():
    with pytest.raises(ValueError, match=r"expected F2F of .*, got F2F\.F16\.F32"):
        converted("F2F.F16.F32 R0, R1", NUMBERS.numpy())
