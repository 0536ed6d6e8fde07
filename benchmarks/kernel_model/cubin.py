"""Compiles kernels and reads what is in a cubin: code, registers, shared memory, constants."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from .disassembly import BYTES, Instruction, parse

#: What the library is compiled with, as setup.py does.
FLAGS = ("-std=c++20", "-O3", "--expt-relaxed-constexpr")
_RESOURCES = re.compile(r"Function (\S+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+)")


@dataclass(frozen=True, eq=False)
class Kernel:
    """One kernel of a cubin."""

    symbol: str
    name: str  # with template arguments, without namespaces and parameters
    architecture: str
    code: list[Instruction]
    registers: int
    shared: int  # bytes, those that the system keeps for itself included
    stack: int  # bytes of a thread in local memory: arrays and spilled registers
    constants: dict[int, bytes]  # by bank; bank 0 holds the parameters and is not here

    @property
    def code_bytes(self) -> int:
        return len(self.code) * BYTES


def tool(name: str) -> str:
    """Find a CUDA tool on the PATH, or the one that comes with Triton.

    Raises:
        FileNotFoundError: it is in neither place.
    """
    found = shutil.which(name)
    if found:
        return found
    triton = find_spec("triton")
    beside = Path(triton.origin).parent / "backends" / "nvidia" / "bin" / name if triton else None
    if beside is None or not beside.exists():
        raise FileNotFoundError(f"{name} is not on the PATH, and Triton is not installed")
    return str(beside)


def compile_cubin(source: Path, architecture: str, cubin: Path) -> str:
    """Compile a source with warnings as errors; return what ptxas says of its kernels.

    Raises:
        RuntimeError: it does not compile; the message is the compiler's.
    """
    include = Path(find_spec("torch").origin).parent / "include"
    command = [tool("nvcc"), *FLAGS, "-cubin", f"-arch={architecture}", "-Xptxas", "-v"]
    command += ["-Werror", "all-warnings", f"-isystem={include}", "-o", str(cubin), str(source)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise RuntimeError(f"{source.name} does not compile for {architecture}:\n{made.stderr}")
    return made.stderr


def dump(cubin: Path, what: str) -> str:
    """Run cuobjdump with an option such as ``-sass`` on a cubin."""
    command = [tool("cuobjdump"), what, str(cubin)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def read(cubin: Path, architecture: str) -> list[Kernel]:
    """Read the kernels of a cubin."""
    code = parse(dump(cubin, "-sass"))
    names = dict(zip(code, demangle(list(code)), strict=True))
    constants = _constants(cubin.read_bytes())
    kernels = []
    for symbol, *sizes in _RESOURCES.findall(dump(cubin, "-res-usage")):
        registers, stack, shared = map(int, sizes)
        kernels.append(
            Kernel(
                symbol=symbol,
                name=names[symbol],
                architecture=architecture,
                code=code[symbol],
                registers=registers,
                shared=shared,
                stack=stack,
                constants=constants.get(symbol, {}),
            )
        )
    return kernels


def demangle(symbols: list[str]) -> list[str]:
    """Give the kernels' names with template arguments, without namespaces and parameters.

    Example:
        >>> demangle(["_ZN6adarts4cuda6kernelIfLi4EEEvPT_", "plain"])
        ['kernel<float, 4>', 'plain']
    """
    text = "\n".join(symbols)
    made = subprocess.run(["c++filt"], input=text, capture_output=True, text=True, check=True)
    return [short_name(line) for line in made.stdout.splitlines()]


def short_name(demangled: str) -> str:
    """Cut return type, namespaces and parameters off a demangled name.

    Example:
        >>> short_name("void adarts::cuda::(anonymous namespace)::pool<c10::Half>(c10::Half*)")
        'pool<Half>'
    """
    text = re.sub(r"adarts::cuda::|\(anonymous namespace\)::|c10::", "", demangled)
    text = text.removeprefix("void ")
    end = text.find(">(")
    return text[: end + 1] if end >= 0 else text.split("(")[0]


def _constants(elf: bytes) -> dict[str, dict[int, bytes]]:
    """Read the banks of constants that belong to one kernel (ELF, 64 bits, little-endian)."""
    (at,) = struct.unpack_from("<Q", elf, 0x28)
    size, count, names = struct.unpack_from("<HHH", elf, 0x3A)
    sections = []
    for number in range(count):
        name, kind, _, _, offset, length = struct.unpack_from("<IIQQQQ", elf, at + number * size)
        sections.append((name, kind, offset, length))
    strings = sections[names][2]
    banks: dict[str, dict[int, bytes]] = {}
    for name, _, offset, length in sections:
        text = elf[strings + name : elf.index(b"\0", strings + name)].decode()
        if found := re.fullmatch(r"\.nv\.constant([1-9])\.(\S+)", text):
            banks.setdefault(found[2], {})[int(found[1])] = elf[offset : offset + length]
    return banks
