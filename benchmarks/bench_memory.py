"""Memory of one forward and backward pass on the CPU: plain torch, and the fused cells.

    python benchmarks/bench_memory.py [--out FILE.md] [--batch 64]

Two numbers for each arm, everything requiring its gradient (weights, alphas and betas):

- the bytes that autograd keeps after the forward pass: all storages among the saved tensors, each
  once, those of weights, buffers, alphas, betas and images left out;
- the rise of the peak resident memory (VmHWM) over a forward and a backward pass, in a fresh
  process, after a pass on two images that loads the code and makes the gradients. There every
  tensor from 64 KiB is mapped on its own and given back when freed, so that glibc's adaptive
  thresholds do not blur the number.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import subprocess
import sys
from dataclasses import astuple, replace
from pathlib import Path

import torch
from report import machine, table, write
from search_step import ARMS, Size, add_size_options, build_network
from torch import Tensor

#: Arm, and how many times less than plain the issue that asked for the fused cells wanted.
COMPARED = {"plain": "", "ours, store": "4.5x", "ours, recompute": "9x; goal 14x"}
THRESHOLD = str(2**16)
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": THRESHOLD, "MALLOC_TRIM_THRESHOLD_": THRESHOLD}
MIB = 2**20


def kept_bytes(arm: str, size: Size) -> int:
    """Bytes that autograd keeps after a forward pass."""
    network = build_network(ARMS[arm], size)
    images = torch.randn(size.batch, 3, size.image, size.image)
    others = [*network.parameters(), *network.buffers(), *network.arch_parameters(), images]
    known = {tensor.untyped_storage()._cdata for tensor in others}
    kept: dict[int, torch.UntypedStorage] = {}  # held, so that no storage takes another's place

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in known:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        logits = network(images)
    total = sum(storage.nbytes() for storage in kept.values())
    del logits
    return total


def status_bytes(field: str) -> int:
    """A number of /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}")


def pass_through(network: torch.nn.Module, size: Size) -> None:
    """One forward and backward pass."""
    network(torch.randn(size.batch, 3, size.image, size.image)).sum().backward()


def peak_rise(arm: str, size: Size) -> int:
    """Bytes by which the peak of this process rises over a forward and a backward pass."""
    network = build_network(ARMS[arm], size)
    pass_through(network, replace(size, batch=2))
    ctypes.CDLL(None).malloc_trim(0)
    before = status_bytes("VmRSS")
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    except OSError:
        pass_through(network, size)
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    pass_through(network, size)
    return status_bytes("VmHWM") - before


def peak_rise_of_fresh_process(arm: str, size: Size, threads: int) -> int:
    """The same, in a process of its own."""
    code = (
        "import sys, json, torch, bench_memory, search_step\n"
        "arm, size, threads = json.loads(sys.argv[1])\n"
        "torch.set_num_threads(threads)\n"
        "print(bench_memory.peak_rise(arm, search_step.Size(*size)))"
    )
    here = str(Path(__file__).parent)
    paths = [here, os.path.dirname(here), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    asked = json.dumps([arm, astuple(size), threads])
    process = subprocess.run(
        [sys.executable, "-c", code, asked],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return int(process.stdout)


def rows(found: dict[str, dict[str, int]]) -> list[list[str]]:
    """A row for each arm, with how many times less than plain it takes."""
    made = []
    for arm, asked in COMPARED.items():
        row = [arm]
        for measured in ("kept", "peak rise"):
            ratio = found["plain"][measured] / found[arm][measured]
            row += [f"{found[arm][measured] / MIB:.1f}", f"{ratio:.2f}x"]
        made.append([*row, asked])
    return made


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write the table where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the table here, and JSON beside it")
    parser.add_argument("--batch", type=int, default=64, metavar="N")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    add_size_options(parser)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    size = Size(options.batch, options.init_channels, options.layers, options.size)
    found = {
        arm: {
            "kept": kept_bytes(arm, size),
            "peak rise": peak_rise_of_fresh_process(arm, size, options.threads),
        }
        for arm in COMPARED
    }
    lines = [
        machine(),
        "",
        f"N={size.batch}, C={size.channels}, {size.layers} cells, {size.image}x{size.image}, K=4, "
        "attention, float32. Kept is what autograd holds after the forward pass; the peak is that "
        "of resident memory over a forward and a backward pass in a fresh process whose malloc "
        f"maps every block from {int(THRESHOLD) // 1024} KiB on its own.",
        "",
        *table(
            [
                "arm",
                "kept, MiB",
                "less than plain",
                "rise of the peak, MiB",
                "less than plain",
                "asked for, at least",
            ],
            rows(found),
        ),
    ]
    write(options.out, lines, found)


if __name__ == "__main__":
    main()
