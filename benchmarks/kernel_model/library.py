"""Compiles all kernels of the CUDA library and reads them."""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .cubin import Kernel, compile_cubin, read

KERNELS = Path(__file__).resolve().parents[2] / "csrc" / "cuda"


def compile_library(architecture: str, folder: str = "") -> dict[str, Kernel]:
    """Compile every source for one architecture; return the kernels by name.

    Args:
        architecture: such as ``sm_90``.
        folder: the sources of this one alone, below ``csrc/cuda``.

    Raises:
        RuntimeError: a source does not compile.
    """
    sources = [p for p in sorted((KERNELS / folder).rglob("*.cu")) if p.stem != "architectures"]

    def kernels_of(source: Path) -> list[Kernel]:
        with tempfile.TemporaryDirectory() as room:
            cubin = Path(room) / "kernels.cubin"
            compile_cubin(source, architecture, cubin)
            return read(cubin, architecture)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return {kernel.name: kernel for some in pool.map(kernels_of, sources) for kernel in some}
