"""Which pipe of a multiprocessor an instruction takes.

Sources: the table of arithmetic throughput in NVIDIA's CUDA C++ Programming Guide, and the names of
the pipes (FMA, ALU, FP64, XU, LSU, uniform, CBU, tensor) in the Nsight Compute documentation.
"""

from __future__ import annotations

from .disassembly import Instruction

FMA, IMAD, ALU, FP64, XU, LSU = "FMA", "IMAD", "ALU", "FP64", "XU", "LSU"
UNIFORM, CONTROL, TENSOR = "uniform", "control", "tensor"
PIPES = (FMA, IMAD, ALU, FP64, XU, LSU, UNIFORM, CONTROL, TENSOR)

_OPCODES = {
    FMA: "FADD FMUL FFMA FSWZADD HADD2 HMUL2 HFMA2",
    IMAD: "IMAD",  # on the FMA pipe too, or on a half of it
    ALU: "FSETP FSEL FMNMX FCHK F2FP I2FP IADD3 IABS ISETP IMNMX LEA LOP3 SHF PRMT SEL MOV VIADD "
    "VIMNMX VIADDMNMX PLOP3 P2R R2P CS2R VOTE HSETP2 HMNMX2 BMSK SGXT",
    FP64: "DADD DMUL DFMA DSETP",
    XU: "MUFU I2F F2I F2F FRND POPC FLO BREV",
    LSU: "LDG STG LDS STS LDL STL LD ST LDC SHFL ATOM ATOMG ATOMS RED S2R R2UR LDSM LDGSTS MATCH",
    CONTROL: "BRA BRX BRXU JMP CALL RET EXIT BSSY BSYNC BREAK BAR WARPSYNC ENDCOLLECTIVE LEPC NOP "
    "BPT DEPBAR LDGDEPBAR MEMBAR ERRBAR CCTL YIELD NANOSLEEP BMOV KILL ACQBULK PREEXIT",
    TENSOR: "HMMA IMMA DMMA QMMA HGMMA IGMMA QGMMA",
}
_PIPE = {opcode: pipe for pipe, names in _OPCODES.items() for opcode in names.split()}


def pipe_of(instruction: Instruction) -> str:
    """Name the pipe of an instruction.

    Raises:
        ValueError: the opcode is in no list above.

    Example:
        >>> from .disassembly import parse_instruction
        >>> pipe_of(parse_instruction(" /*0000*/ FFMA R2, R0, R1, R2 ;"))
        'FMA'
    """
    opcode = instruction.opcode
    if opcode in _PIPE:
        return _PIPE[opcode]
    if opcode.startswith("U") or opcode in ("S2UR", "VOTEU"):
        return UNIFORM
    raise ValueError(f"expected an opcode of a known pipe (pipes.py), got {instruction.text!r}")
