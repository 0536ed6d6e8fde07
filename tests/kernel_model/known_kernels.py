"""The kernels of known/kernels.cu, and memory for them to work on."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from kernel_model.card import H100
from kernel_model.cubin import Kernel
from kernel_model.disassembly import parse
from kernel_model.machine import Machine, Run
from kernel_model.memory import PAGE
from kernel_model.state import Launch

KNOWN = Path(__file__).parent / "known"
#: Registers and shared memory, as cuobjdump -res-usage tells them.
RESOURCES = {
    "copy": (14, 0),
    "strided_copy": (10, 0),
    "multiply_add_chain": (9, 0),
    "meeting": (20, 2048),
}
IN, OUT = 1 << 30, 1 << 31  # addresses


def known_kernel(name: str) -> Kernel:
    """Read a kernel from the disassembly that lies beside its source."""
    code = parse((KNOWN / "kernels_sm_90.sass").read_text())[name]
    registers, shared = RESOURCES[name]
    return Kernel(name, name, "sm_90", code, registers, shared, 0, {})


def memory_of(inputs: np.ndarray):
    """Give pages with an array at IN, and zeros elsewhere."""
    data = inputs.tobytes()

    def read_page(page: int) -> bytes:
        at = page * PAGE - IN
        return (data[at : at + PAGE] if at >= 0 else b"").ljust(PAGE, b"\0")

    return read_page


def launch_of(name: str, blocks: int, threads: int, form: str, *parameters: float) -> Launch:
    """Make a launch; ``form`` is the parameters' format for struct."""
    return Launch(name, (blocks, 1, 1), (threads, 1, 1), 0, struct.pack(form, *parameters))


def run(launch: Launch, inputs: np.ndarray, kernel: Kernel | None = None, card=H100) -> Run:
    """Run all blocks of a launch."""
    kernel = kernel or known_kernel(launch.name)
    blocks = np.arange(launch.blocks)
    return Machine(kernel, launch, blocks, card, memory_of(inputs)).run()


def written(run: Run, count: int) -> np.ndarray:
    """Give what a run has written at OUT."""
    pages = run.memory.pages()
    first = OUT // PAGE
    data = b"".join(pages[first + n] for n in range(-(-4 * count // PAGE)))
    return np.frombuffer(data, np.float32)[:count]
