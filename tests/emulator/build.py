"""Builds what the emulator's tests load, under build/emulator/, where a source is newer.

``adarts_emulated``  all operators: the CUDA kernels and their bindings, for the host
``planted``          a Python module of small kernels, some with a planted fault
``kernel_versions``  the kernels of docs/kernels.md, for ctypes

All are also built under AddressSanitizer and UndefinedBehaviorSanitizer. As a command,
``python tests/emulator/build.py name ... [--sanitize]`` builds and prints the paths.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import pybind11

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "tests" / "emulator"
FOLDER = ROOT / "build" / "emulator"
TORCH = Path(find_spec("torch").origin).parent  # found, not imported
VERSIONS = ROOT / "benchmarks" / "kernel_versions"
NAMES = ("adarts_emulated", "planted", "kernel_versions")

FLAGS = [
    "-std=c++20",
    "-fPIC",
    "-fvisibility=hidden",
    "-Wall",
    "-Werror",
    "-Wno-unknown-pragmas",
    "-DADARTS_EMULATED",
    "-DADARTS_NAMESPACE=adarts_emulated",
    "-DTORCH_TARGET_VERSION=0x020b000000000000",
    f"-I{HERE}",
    f"-I{ROOT / 'csrc'}",
    f"-isystem {TORCH / 'include'}",
    f"-isystem {pybind11.get_include()}",
    f"-isystem {sysconfig.get_paths()['include']}",
]
PLAIN = ["-O1"]
# Tells the emulator of every access: global.h. On its own this builds no checks of threads.
WATCHED = ["-fsanitize=thread", "--param=tsan-instrument-func-entry-exit=0"]
EMULATOR = ["-O2"]  # small, and most of the time is spent in it
SANITIZED = [
    "-O0",  # kernels would take five times as long to compile otherwise
    "-g1",
    "-fno-omit-frame-pointer",
    "-fsanitize=address,undefined",
    # The first is AddressSanitizer's, too, and the emulator itself refuses the second; both take a
    # third of the time to compile.
    "-fno-sanitize=null,alignment",
    "-fno-sanitize-recover=all",
]
RULES = """\
rule compile
  command = $cxx $flags -MMD -MF $out.d -x c++ -c $in -o $out
  depfile = $out.d
  deps = gcc
rule link
  command = $cxx -shared $flags $in -o $out $libraries
"""


def sources(name: str) -> list[Path]:
    """Return the sources of a library; the emulator itself is part of each."""
    found = [path for path in HERE.glob("*.cpp") if not path.name.startswith(NAMES[1:])]
    found += HERE.glob(f"{name}*.cpp")
    if name == "adarts_emulated":
        kernels = (ROOT / "csrc" / "cuda").rglob("*.cu")  # nvcc alone knows the architectures
        found += [path for path in kernels if path.name != "architectures.cu"]
        bindings = (ROOT / "csrc" / "torch" / "cuda").glob("*.cpp")
        found += [path for path in bindings if path.name != "library.cpp"]
        found.append(ROOT / "csrc" / "torch" / "library.cpp")
    elif name == "kernel_versions":
        found += [*VERSIONS.glob("*.cu"), ROOT / "csrc" / "cuda" / "normalized_mixed_sum.cu"]
    return sorted(found)


def is_binding(source: Path) -> bool:
    """Tell what only calls kernels: slow to compile, and thrice as slow under the sanitizers."""
    return source.name.endswith("_module.cpp") or ROOT / "csrc" / "torch" in source.parents


def library_path(name: str, sanitize: bool = False) -> Path:
    """Return where a library is built."""
    return FOLDER / ("sanitized" if sanitize else "plain") / f"{name}.so"


def has_kernels(source: Path) -> bool:
    """Tell what is a kernel's source."""
    return source.suffix == ".cu" or source.name == "planted.cpp"


def flags(source: Path, checked: bool) -> str:
    """Return the compiler's flags for a source, as it is checked by the sanitizers or not."""
    if checked:
        own = SANITIZED
    elif has_kernels(source):
        own = [*PLAIN, *WATCHED]
    else:
        own = PLAIN
    if source.parent == HERE and not source.name.startswith(NAMES):
        own = [*own, *EMULATOR]
    return " ".join([*FLAGS, *own])


def plan() -> str:
    """Write down all files and how they come to be, for ninja."""
    lines = [f"cxx = {os.environ.get('CXX', 'g++')}", RULES]
    known: set[Path] = set()
    for name in NAMES:
        for sanitize in (False, True):
            library = library_path(name, sanitize)
            objects = []
            for source in sources(name):
                checked = sanitize and not is_binding(source)
                folder = library_path(name, checked).parent
                target = folder / source.relative_to(ROOT).with_suffix(".o")
                objects.append(str(target))
                if target not in known:
                    lines.append(f"build {target}: compile {source}")
                    lines.append(f"  flags = {flags(source, checked)}")
                known.add(target)
            lines.append(f"build {library}: link {' '.join(objects)}")
            lines.append(f"  flags = {' '.join(SANITIZED if sanitize else PLAIN)}")
            if name == "adarts_emulated":
                lines.append(
                    f"  libraries = -L{TORCH}/lib -ltorch_cpu -lc10 -Wl,-rpath,{TORCH}/lib"
                )
    return "\n".join(lines) + "\n"


def build(name: str, sanitize: bool = False) -> Path:
    """Build a library where it is missing or older than its sources; return its path.

    Raises:
        RuntimeError: a source does not compile; the message is the compiler's.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = library_path(name, sanitize)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs must not build at the same time
        (FOLDER / "build.ninja").write_text(plan())
        command = [sys.executable, "-m", "ninja", "-C", str(FOLDER), str(path)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise RuntimeError(made.stdout + made.stderr)
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", choices=NAMES, metavar="name")
    parser.add_argument("--sanitize", action="store_true", help="with the sanitizers")
    arguments = parser.parse_args()
    for name in arguments.names:
        print(build(name, arguments.sanitize))
