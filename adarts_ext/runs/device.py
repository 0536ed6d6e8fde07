"""The device of a run, and the memory taken on it."""

from __future__ import annotations

import sys

import torch

from adarts_ext.arguments import naming
from adarts_ext.runs import processes


def resolve_device(name: str = "auto") -> torch.device:
    """Turn the name of a device into a device that is there.

    Args:
        name: ``"auto"`` (CUDA where there is one, else the CPU), ``"cpu"``, ``"cuda"`` or
            ``"cuda:1"`` and so on.

    Raises:
        ValueError: If the name is none of these, or that CUDA device is not there; or if several
            processes, of which each takes the device of its number, have no such device each.

    Example:
        >>> resolve_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        message = f"device: expected auto, cpu, cuda or cuda:<number>, got {name!r}"
        raise naming(ValueError(message), "device")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            message = f"device: {name} was asked for, but torch finds no CUDA device"
            raise naming(ValueError(message), "device")
        if device.index is not None and device.index >= torch.cuda.device_count():
            count = torch.cuda.device_count()
            message = f"device: {name} was asked for, but torch finds {count} CUDA devices"
            raise naming(ValueError(message), "device")
        if processes.count() > 1:
            return _device_of_process(device)
    return device


def _device_of_process(device: torch.device) -> torch.device:
    if device.index is not None:
        message = (
            f"device: expected auto, cpu or cuda for {processes.count()} processes, which take a "
            f"CUDA device each, got {device}"
        )
        raise naming(ValueError(message), "device")
    place, there = processes.local_rank(), torch.cuda.device_count()
    if place >= there:
        message = (
            f"device: expected a CUDA device for each process on this machine, found {there} for "
            f"process {place + 1}"
        )
        raise naming(ValueError(message), "device")
    return torch.device("cuda", place)


def peak_memory(device: torch.device) -> int:
    """Return the most memory taken so far, in bytes: the device's, or the process's on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource  # not on every system

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kibibytes, but bytes on macOS
