"""Finds and loads the compiled libraries, and says what to do where one cannot be loaded."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

_FOLDER = Path(__file__).parent
CPU_LIBRARY = _FOLDER / "_cpu.so"
CUDA_LIBRARY = _FOLDER / "_cuda.so"

_SOURCES = _FOLDER.parent
REBUILD = "pip install --no-build-isolation --force-reinstall --no-deps . (in the sources' folder)"


def _load(path: Path) -> str | None:
    """Load one library into torch and return the reason if that fails."""
    if not path.exists():
        return f"{path.name} was not built"
    try:
        torch.ops.load_library(path)
    except OSError as error:
        return f"{path.name} does not load with torch {torch.__version__}: {error}"
    return None


def _load_cuda() -> str | None:
    """Load the CUDA library where this torch has CUDA, and return the reason if not."""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    return _load(CUDA_LIBRARY)


def _load_cpu() -> None:
    """Load the library with the schemas and the CPU kernels, without which nothing works."""
    reason = _load(CPU_LIBRARY)
    if not CPU_LIBRARY.exists() and (_SOURCES / "setup.py").is_file():
        raise ImportError(
            f"adarts_ext: imported from the sources in {_SOURCES}, whose libraries are not built; "
            "they hide an adarts_ext that is installed. Run Python in another folder, or build "
            f"them there: pip install --no-build-isolation -e {_SOURCES}"
        )
    if reason is not None:
        raise ImportError(
            f"adarts_ext: {reason}; it is built for torch 2.11 and later and found torch "
            f"{torch.__version__}. Build it again for this torch: {REBUILD}"
        )
    cpu_level()  # raises where ADARTS_CPU_LEVEL asks for something else than there is


def cpu_level() -> str:
    """Return the x86-64 level that the CPU kernels run at: baseline, v3 (AVX2) or v4 (AVX-512).

    It is the highest that the processor has, or that of the environment variable
    ``ADARTS_CPU_LEVEL``.

    Raises:
        RuntimeError: If that variable has another value, or the processor has no such level.
    """
    return {1: "baseline", 3: "v3", 4: "v4"}[torch.ops.adarts_ext.cpu_level()]


_load_cpu()
cuda_error = _load_cuda()  # None where the CUDA library is loaded


def has_kernels(tensor: Tensor) -> bool:
    """Return whether the operators have compiled kernels for this tensor's device."""
    device = tensor.device.type
    return device in ("cpu", "meta") or (device == "cuda" and cuda_error is None)
