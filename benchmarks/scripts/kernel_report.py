"""What the CUDA compiler made of every kernel, and what it should cost.

    python benchmarks/scripts/kernel_report.py [--out benchmarks/results/kernels.md]

For each kernel of csrc/cuda: registers, spills, static shared memory, the occupancy they allow,
and the widest global load and store in the machine code; for each operator the bytes it must move
at the supernet's shapes and the time that takes at 3.0 TB/s. (What a search step should take is in
predict_step.py.) Ends with an error if a kernel spills, or if a float32 kernel that works on packs
of four, or on the feature maps of a fused cell, has no 128-bit access, or if one of a fused cell
touches global memory before it has waited for the preceding grid (dependent_launch.cuh) or stores
single values of 16 bits.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from adarts_ext.bench.operators import OPERATORS, PROPORTION, STAGES

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from kernel_model.card import CARDS, SLOT_WARPS, occupancy
from kernel_model.cubin import compile_cubin, demangle, dump
from kernel_model.library import KERNELS

ARCHITECTURES = ("sm_80", "sm_90", "sm_100", "sm_120")
SHOWN = "sm_90"
BANDWIDTH = 3.0e12  # bytes a second, read and written: the copy rate of an H100

# Kernels of the fused cell that work on sums, weights or vectors of images, not on feature maps.
NO_MAPS = (
    "taps_backward_kernel",
    "score_kernel",
    "choose_kernel",
    "attention_backward_kernel",
    "finish_norms_kernel",
    "finish_sums_kernel",
    "add_parts_kernel",
)
# Kernels of the fused cell that read feature maps and write sums.
ONLY_SUMS = (
    "pool_states_kernel",
    "node_backward_kernel",
    "preprocess_sums_kernel",
    "preprocess_weights_kernel",
)


@dataclass
class Kernel:
    """One kernel in the machine code of one architecture."""

    source: str
    name: str
    registers: int
    spills: int
    stack: int
    shared: int
    threads: int
    load: int = 0
    store: int = 0
    waits: bool = False
    narrowest_store: int = 0

    @property
    def plain_name(self) -> str:
        """The name without template arguments."""
        return self.name.split("<")[0]

    @property
    def single(self) -> bool:
        """Whether it is made for float32."""
        return re.search(r"[<, ]float[,>]", self.name) is not None

    def occupancy(self) -> float:
        """Part of a multiprocessor's 2,048 threads that registers and shared memory allow."""
        warps = -(-self.threads // 32)
        blocks = occupancy(CARDS[SHOWN], warps, self.registers, self.shared)
        return blocks * warps / SLOT_WARPS


def compile_kernels(source: Path, architecture: str, folder: Path) -> list[Kernel]:
    """Compile one source with warnings as errors and read the compiler's report and the code."""
    name = str(source.relative_to(KERNELS))
    cubin = folder / f"{name.replace('/', '-')}-{architecture}.cubin"
    try:
        report = compile_cubin(source, architecture, cubin)
    except RuntimeError as error:
        raise SystemExit(str(error)) from None
    return parse(name, report, dump(cubin, "-sass"), dump(cubin, "-elf"))


def parse(source: str, report: str, code: str, elf: str) -> list[Kernel]:
    """Bring ptxas's report, the machine code and the launch bounds of each kernel together."""
    widest, waiting, narrowest = {}, {}, {}
    for name, body in re.findall(r"Function : (\S+)\n(.*?)(?=Function : |\Z)", code, re.DOTALL):
        widest[name] = [
            max((width_of(access) for access in re.findall(rf"\b{kind}\S*", body)), default=0)
            for kind in ("LDG", "STG")
        ]
        waiting[name] = waits_first(body)
        narrowest[name] = min(map(width_of, re.findall(r"\bSTG\S*", body)), default=0)
    bounds = launch_bounds(elf)
    kernels = []
    pattern = (
        r"Compiling entry function '(\S+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
        r"(\d+) bytes spill loads.*?Used (\d+) registers([^\n]*)"
    )
    for name, stack, stores, loads, registers, rest in re.findall(pattern, report, re.DOTALL):
        shared = re.search(r"(\d+) bytes smem", rest)
        kernels.append(
            Kernel(
                source=source,
                name=demangle([name])[0],
                registers=int(registers),
                spills=int(stores) + int(loads),
                stack=int(stack),
                shared=int(shared[1]) if shared else 0,
                threads=bounds.get(name, 1024),
                load=widest[name][0],
                store=widest[name][1],
                waits=waiting[name],
                narrowest_store=narrowest[name],
            )
        )
    return kernels


def launch_bounds(elf: str) -> dict[str, int]:
    """Read the largest block of each kernel that gives one by __launch_bounds__."""
    sections = re.findall(
        r"\.nv\.info\.(\S+)\n(.*?)(?=\n\.nv\.info|\n\.section|\Z)", elf, re.DOTALL
    )
    bounds = {}
    for name, body in sections:
        found = re.search(r"EIATTR_MAX_THREADS.*?Value:\s*0x([0-9a-f]+)", body, re.DOTALL)
        if found:
            bounds[name] = int(found[1], 16)
    return bounds


def waits_first(body: str) -> bool:
    """Say whether a kernel's code waits for the preceding grid before it touches global memory.

    Example:
        >>> waits_first("PREEXIT ; ACQBULK ; LDG.E R4 ;"), waits_first("LDG.E R4 ; ACQBULK ;")
        (True, False)
    """
    first = re.search(r"\b(ACQBULK|LD|ST|LDG|STG|LDGSTS|ATOM|ATOMG|RED|UBLKCP|UTMALDG)\b", body)
    return first is not None and first[1] == "ACQBULK"


def width_of(access: str) -> int:
    """Bits of an access such as LDG.E.128.CONSTANT."""
    found = re.search(r"\.(8|16|32|64|128|U8|S8|U16|S16)(?:\.|$|,|;)", access)
    return int(found[1].lstrip("US")) if found else 32


def compile_all() -> Iterator[tuple[str, Kernel]]:
    """Compile every source for every architecture, as many at once as there are processors."""
    tasks = [(s, a) for s in sorted(KERNELS.rglob("*.cu")) for a in ARCHITECTURES]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        made = pool.map(lambda task: compile_kernels(*task, Path(folder)), tasks)
        for (_, architecture), kernels in zip(tasks, made, strict=True):
            for kernel in kernels:
                yield architecture, kernel


def main() -> None:
    """Compile everything, print the tables, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="write the tables here (Markdown)")
    options = parser.parse_args()
    faults, lines = [], []
    lines += [
        f"Compiled for {', '.join(ARCHITECTURES)}; shown is {SHOWN}, float32.",
        "",
        "| kernel | registers | spilled | shared, bytes | threads | occupancy | load | store |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    shown = set()
    for architecture, kernel in compile_all():
        faults += faults_of(kernel, architecture)
        if architecture != SHOWN or not kernel.single or kernel.name in shown:
            continue
        shown.add(kernel.name)
        lines.append(
            f"| `{kernel.name}` | {kernel.registers} | {kernel.spills} | {kernel.shared} | "
            f"{kernel.threads} | {kernel.occupancy():.0%} | {kernel.load} | {kernel.store} |"
        )
    lines += ["", *predictions()]
    text = "\n".join(lines) + "\n"
    print(text)
    if options.out:
        options.out.write_text(text)
    if faults:
        raise SystemExit("\n".join(faults))


def faults_of(kernel: Kernel, architecture: str) -> list[str]:
    """Say what must not be."""
    faults = []
    if kernel.spills:
        faults.append(f"{architecture} {kernel.name}: spills {kernel.spills} bytes")
    if "<float, 4" in kernel.name and max(kernel.load, kernel.store) < 128:
        faults.append(f"{architecture} {kernel.name}: no access of 128 bits")
    if kernel.source.startswith("cell/") and not kernel.waits and int(architecture[3:]) >= 90:
        faults.append(f"{architecture} {kernel.name}: does not wait for the preceding grid first")
    for kind, width in (("load", kernel.load), ("store", kernel.store)):
        if kind in wide_accesses(kernel) and width < 128:
            faults.append(f"{architecture} {kernel.name}: no {kind} of 128 bits")
    if kernel.source.startswith("cell/") and kernel.narrowest_store == 16:
        faults.append(f"{architecture} {kernel.name}: stores values of 16 bits one by one")
    return faults


def wide_accesses(kernel: Kernel) -> tuple[str, ...]:
    """Say which accesses of a kernel of the fused cell must be made by 128 bits."""
    if not kernel.source.startswith("cell/") or not kernel.single or kernel.plain_name in NO_MAPS:
        return ()
    return ("load",) if kernel.plain_name in ONLY_SUMS else ("load", "store")


def predictions() -> list[str]:
    """Tabulate the fewest bytes of each operator and the time they take."""
    lines = [
        f"Bytes that must move in float32, and microseconds at {BANDWIDTH / 1e12:.1f} TB/s "
        "(a launch takes about 2 us more):",
        "",
        "| operator | N | C x H x W | forward, MiB | us | backward, MiB | us |",
        "|---|---:|---|---:|---:|---:|---:|",
    ]
    for name, module in OPERATORS.items():
        for n in (64, 256):
            for c, size in STAGES:
                cells = []
                for moved in module.bytes_moved(n, c, size, PROPORTION):
                    cells += [f"{moved / 2**20:.2f}", f"{1e6 * moved / BANDWIDTH:.2f}"]
                lines.append(f"| {name} | {n} | {c}x{size}x{size} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
