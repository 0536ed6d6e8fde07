"""Kernels as they are read from a disassembly."""

from __future__ import annotations

import pytest
from kernel_model import control_flow, disassembly, pipes

SYMBOL = "_ZN6adarts4cuda6kernelIfEEvPT_"
# Two loops, one inside the other; a conditional end; a subroutine; padding.
TEXT = f"""
		Function : {SYMBOL}
	.headerflags	@"EF_CUDA_SM90"
        /*0000*/                   S2R R0, SR_TID.X ;   /* 0x1 */
                                                        /* 0x2 */
        /*0010*/              @!P1 EXIT ;
        /*0020*/                   LDG.E.128.CONSTANT R4, desc[UR4][R2.64+0x10] ;
        /*0030*/                   FFMA R8, R4.reuse, R5, R8 ;
        /*0040*/               @P0 BRA 0x30 ;
        /*0050*/                   ULDC UR6, c[0x0][0x210] ;
        /*0060*/               @P2 CALL.REL.NOINC 0x90 ;
        /*0070*/                   BRA P3, 0x20 ;
        /*0080*/                   EXIT ;
        /*0090*/                   MUFU.RCP R0, R0 ;
        /*00a0*/                   RET.REL.NODEC R6 0x0 ;
        /*00b0*/                   BRA 0xb0;
        /*00c0*/                   NOP;
"""


@pytest.fixture
def code():
    return disassembly.parse(TEXT)[SYMBOL]


def test_instructions(code):
    assert [i.address for i in code] == [16 * n for n in range(11)], "padding is no instruction"
    assert code[2].text == "LDG.E.128.CONSTANT R4, desc[UR4][R2.64+0x10]"
    assert code[3].operands == ("R8", "R4", "R5", "R8")
    assert code[4].guard == "P0"
    assert code[4].target == 0x30
    assert code[7].target == 0x20
    with pytest.raises(ValueError, match="cuobjdump -sass"):
        disassembly.parse("nothing")


def test_basic_blocks_and_loops(code):
    blocks = control_flow.basic_blocks(code)
    assert [(b.first, b.last) for b in blocks] == [
        (0, 1),
        (2, 2),
        (3, 4),
        (5, 6),
        (7, 7),
        (8, 8),
        (9, 10),
    ]
    assert [b.successors for b in blocks] == [[1], [2], [2, 3], [4], [1, 5], [], []]
    outer, inner = control_flow.loops(blocks)
    assert (outer.head, outer.blocks) == (1, {1, 2, 3, 4})
    assert (inner.head, inner.blocks) == (2, {2})


def test_pipes(code):
    assert control_flow.by_pipe(code) == {
        pipes.LSU: 2,
        pipes.FMA: 1,
        pipes.UNIFORM: 1,
        pipes.XU: 1,
        pipes.CONTROL: 6,
    }
    unknown = disassembly.parse_instruction(" /*0000*/ NEVER.SEEN R1 ;")
    with pytest.raises(ValueError, match=r"pipes.py.*NEVER.SEEN"):
        pipes.pipe_of(unknown)
