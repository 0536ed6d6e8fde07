"""All that the model assumes of a card: rates and latencies, each with its source.

The first measurement on a card is to correct them here; nothing else in the model is a guess about
hardware. Sources:

[guide] CUDA C++ Programming Guide, tables of technical specifications and of arithmetic throughput
[A100], [H100] NVIDIA's architecture papers and data sheets (A100 SXM 40 GB, H100 SXM 80 GB)
[Luo] Luo et al., Benchmarking and Dissecting the Nvidia Hopper GPU Architecture via
      Microbenchmarking, arXiv:2402.13499
[Abdelkhalik] Abdelkhalik et al., Demystifying the Nvidia Ampere Architecture through
      Microbenchmarking and Instruction-level Analysis, arXiv:2208.11174
[guess] no source known; to be measured first
"""

from __future__ import annotations

from dataclasses import dataclass

from .pipes import ALU, CONTROL, FMA, FP64, IMAD, LSU, TENSOR, UNIFORM, XU

SCHEDULERS = 4  # of a multiprocessor, each issues one instruction a clock [guide]
SLOT_WARPS, SLOT_BLOCKS = 64, 32  # resident on a multiprocessor, at most [guide]
REGISTER_FILE, REGISTER_UNIT = 65536, 256  # of a multiprocessor; handed out to a warp [guide]
L2_PORT = 64  # bytes that a multiprocessor gets from L2, or gives it, in a clock [A100]


@dataclass(frozen=True, eq=False)
class Card:
    """A graphics card."""

    name: str
    architecture: str
    multiprocessors: int
    clock: float  # Hz, under load
    issue_cycles: dict[str, float]  # of a scheduler for one instruction of a pipe
    latency: dict[str, int]  # clocks until a result can be used, by pipe
    shared_bytes: int  # of a multiprocessor
    block_shared: int  # that every block costs beside its own
    l1_bytes: int  # L1 and shared memory together
    load_l1: int  # clocks
    load_l2: int
    load_shared: int  # and shuffles
    l2_bytes_clock: float  # that L2 gives all multiprocessors in a clock
    dram_bytes: float  # a second
    launch_gap: float  # seconds between two kernels of a graph that depend on each other
    dependent_gap: float  # the same where both are ours: programmatic dependent launch


BRANCH = 8  # clocks that a warp loses by a branch that is taken [guess]
BARRIER = 20  # clocks from the last arrival at __syncthreads [guess]
#: Part of the peak that DRAM sustains for a copy: 3.0 of an H100's 3.35 TB/s.
SUSTAINED = 0.9
#: Seconds of a kernel of torch beside the gap: most are small. [guess]
TORCH_KERNEL = 1.5e-6

_LATENCY = {
    FMA: 4,  # [Abdelkhalik], [Luo]
    IMAD: 4,  # [Abdelkhalik]
    ALU: 4,  # IADD3, LOP3: 4 [Abdelkhalik]
    FP64: 8,  # [Abdelkhalik]
    XU: 18,  # MUFU and conversions, 14 to 23 [Abdelkhalik]
    LSU: 30,  # of S2R, R2UR, LDC: as shared memory [guess]
    UNIFORM: 8,  # [guess]
    CONTROL: 4,  # [guess]
    TENSOR: 24,  # [Luo]
}

A100 = Card(
    name="A100 SXM",
    architecture="sm_80",
    multiprocessors=108,  # [A100]
    clock=1.41e9,  # [A100]
    # 64 FP32, 64 integer, 32 FP64 and 16 special results a clock and multiprocessor [guide]
    issue_cycles={
        **{FMA: 2, IMAD: 2, ALU: 2, FP64: 4, XU: 8, LSU: 4},
        **{UNIFORM: 2, CONTROL: 2, TENSOR: 8},  # [guess]
    },
    latency=_LATENCY,
    shared_bytes=164 * 1024,  # [guide]
    block_shared=1024,  # [guide]
    l1_bytes=192 * 1024,  # [A100]
    load_l1=38,  # [Luo]
    load_l2=262,  # [Luo]
    load_shared=29,  # [Luo]
    l2_bytes_clock=5120,  # [A100]
    dram_bytes=1.555e12,  # [A100]
    launch_gap=1.3e-6,  # [guess]
    dependent_gap=1.3e-6,  # there are none before sm_90 [guide]
)

H100 = Card(
    name="H100 SXM",
    architecture="sm_90",
    multiprocessors=132,  # [H100]
    clock=1.755e9,  # [H100]
    # 128 FP32, 64 integer (IMAD on half the FMA pipe), 64 FP64, 16 special results a clock [guide]
    issue_cycles={
        **{FMA: 1, IMAD: 2, ALU: 2, FP64: 2, XU: 8, LSU: 4},
        **{UNIFORM: 2, CONTROL: 2, TENSOR: 8},  # [guess]
    },
    latency=_LATENCY,
    shared_bytes=228 * 1024,  # [guide]
    block_shared=1024,  # [guide]
    l1_bytes=256 * 1024,  # [H100]
    load_l1=41,  # [Luo]
    load_l2=263,  # [Luo]
    load_shared=29,  # [Luo]
    l2_bytes_clock=5120,  # as A100's; 5.5 to 7 TB/s were measured [guess]
    dram_bytes=3.35e12,  # [H100]
    launch_gap=1.3e-6,  # [guess]
    dependent_gap=0.7e-6,  # unconfirmed: half of it, for blocks are there and wait [guess]
)

CARDS = {card.architecture: card for card in (A100, H100)}


def occupancy(card: Card, warps: int, registers: int, shared: int) -> int:
    """Give the blocks that a multiprocessor holds at a time.

    Args:
        warps: of a block.
        registers: of a thread.
        shared: bytes of a block, static and dynamic.

    Raises:
        ValueError: it cannot hold one.
    """
    of_warp = -(-max(registers, 1) * 32 // REGISTER_UNIT) * REGISTER_UNIT
    # each scheduler has a quarter of the file, and its warps whole
    by_registers = REGISTER_FILE // SCHEDULERS // of_warp * SCHEDULERS // warps
    by_shared = card.shared_bytes // (shared + card.block_shared)
    blocks = min(by_registers, by_shared, SLOT_WARPS // warps, SLOT_BLOCKS)
    if blocks < 1:
        raise ValueError(
            f"expected a block that fits a multiprocessor of {card.name}, got {warps} warps of "
            f"{registers} registers and {shared} bytes of shared memory"
        )
    return blocks
