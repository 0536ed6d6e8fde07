"""What a run was begun on, as far as its last bits depend on it, kept in its folder."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch

from adarts_ext._library import cpu_level
from adarts_ext.files import read_json, write_json
from adarts_ext.runs import processes
from adarts_ext.runs.folder import MACHINE_FILE


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Return torch's version, processes, device and, on the CPU, threads and instructions."""
    common = {"torch": torch.__version__, "processes": processes.count()}
    if device.type == "cuda":
        return common | {"device": torch.cuda.get_device_name(device)}
    return common | {
        "device": device.type,
        "threads": torch.get_num_threads(),
        "CPU level": cpu_level(),
    }


def save_machine_record(folder: Path, device: torch.device) -> None:
    """Write down what a run is begun on.

    Raises:
        OSError: If the file cannot be written.
    """
    write_json(folder / MACHINE_FILE, describe_machine(device))


def warn_of_other_machine(folder: Path, device: torch.device) -> None:
    """Warn, in one line, where a run goes on otherwise than it was begun: sums are rounded so.

    Raises:
        ValueError: If the record is damaged.
    """
    path = folder / MACHINE_FILE
    if not path.is_file():  # a run of an earlier version
        return
    begun, now = read_json(path), describe_machine(device)
    if not isinstance(begun, dict):
        raise ValueError(f"{path}: damaged")
    changes = [
        f"{name} {begun[name]}, now {now[name]}"
        for name in now
        if name in begun and begun[name] != now[name]
    ]
    if changes:
        warnings.warn(
            f"{folder}: the run was begun with {'; '.join(changes)}: it will not end with the "
            "same bits as without a break",
            stacklevel=2,
        )
