"""On what is measured: the device, its clock as found, and the versions."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import torch

import adarts_ext
from adarts_ext import _library
from adarts_ext.bench.groups import Options

CPU_INFO = Path("/proc/cpuinfo")
FREQUENCY = Path("/sys/devices/system/cpu/cpu0/cpufreq")
MEMORY_INFO = Path("/proc/meminfo")
PART_OF_AVAILABLE = 0.8  # that a benchmark may fill
UNREADABLE = "not readable here"
MAKERS = ("intel", "amd", "nvidia", "processor", "cpu", "geforce")


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    return _cpu_field("model name") or platform.processor() or platform.machine()


def device_name(device: str) -> str:
    """Return the name of a device; a CPU with its number of cores.

    Args:
        device: ``"cpu"`` or ``"cuda"``.
    """
    if device == "cuda":
        return torch.cuda.get_device_name(0)
    cores = len(os.sched_getaffinity(0))
    return f"{cpu_name()}, {cores} {'core' if cores == 1 else 'cores'}"


def check_kernels(device: str) -> None:
    """Refuse to measure on a GPU without our kernels: plain torch would be measured as ours.

    Raises:
        ValueError: The CUDA library is not loaded.
    """
    if device == "cuda" and _library.cuda_error is not None:
        raise ValueError(f"device: cuda has none of our kernels: {_library.cuda_error}")


def folder_name(device_name: str) -> str:
    """Turn a device's name into that of a folder.

    Example:
        >>> folder_name("Intel(R) Xeon(R) Processor, 2 cores"), folder_name("NVIDIA H100 80GB HBM3")
        ('xeon-2-cores', 'h100-80gb-hbm3')
    """
    words = re.findall(r"[a-z0-9]+", re.sub(r"\((r|tm)\)", " ", device_name.lower()))
    return "-".join(word for word in words if word not in MAKERS) or "device"


def clock(device: str) -> str:
    """The clock as it is found."""
    if device == "cuda":
        try:
            return f"{torch.cuda.clock_rate()} MHz"
        except Exception:  # it needs the driver's Python bindings, which may be missing or refuse
            return UNREADABLE
    found = _cpu_field("cpu MHz")
    try:
        governor = (FREQUENCY / "scaling_governor").read_text().strip()
    except OSError:
        governor = UNREADABLE
    return f"{f'{float(found):.0f} MHz' if found else UNREADABLE}, governor {governor}"


def precision(device: str) -> str:
    """How float32 is computed."""
    if device == "cpu":
        return f"float32 (matrix products: {torch.get_float32_matmul_precision()})"
    convolutions = "TF32" if torch.backends.cudnn.allow_tf32 else "float32"
    products = torch.get_float32_matmul_precision()
    return f"float32 (matrix products: {products}; cuDNN's convolutions may use {convolutions})"


def describe(options: Options) -> dict[str, object]:
    """Say on what is measured; what two results must share to be compared is in ``SAME``."""
    device = options.device
    side = f"{options.image}x{options.image}"
    return {
        "device": device_name(device),
        "threads": options.threads,
        "precision": precision(device),
        "network": f"C={options.channels}, {options.layers} cells, {side}, K=4, attention",
        "torch": torch.__version__,
        "adarts_ext": adarts_ext.__version__,
        "python": platform.python_version(),
        "clock": clock(device),
    }


#: The entries of :func:`describe` in which results must agree to be compared.
SAME = ("device", "threads", "precision", "network")


def line(threads: int) -> str:
    """Return the name of the CPU, the threads and torch in one line."""
    plural = "thread" if threads == 1 else "threads"
    return f"{cpu_name()}, {threads} {plural}, torch {torch.__version__}"


def available_bytes(device: str) -> int:
    """Memory that is free for use, in bytes.

    Raises:
        OSError: The system does not say.
    """
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    found = re.search(r"^MemAvailable: +(\d+) kB", MEMORY_INFO.read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"{MEMORY_INFO} does not say how much memory is available")
    return 1024 * int(found[1])


def _cpu_field(name: str) -> str:
    try:
        text = CPU_INFO.read_text()
    except OSError:
        return ""
    found = re.search(rf"^{name}\s*: (.+)$", text, re.MULTILINE)
    return found[1].strip() if found else ""
