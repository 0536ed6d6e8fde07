"""Runs Python with the sanitizers' runtime, which must be loaded before anything else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cache

from emulator.build import HERE, ROOT


@cache
def _environment() -> dict[str, str]:
    compiler = os.environ.get("CXX", "g++")
    preloaded = []
    for library in ("libasan.so", "libstdc++.so.6"):  # the second, so that exceptions are known
        command = [compiler, f"-print-file-name={library}"]
        found = subprocess.run(command, capture_output=True, text=True, check=True)
        preloaded.append(found.stdout.strip())
    return {
        **os.environ,
        "PYTHONPATH": str(HERE.parent),
        "LD_PRELOAD": ":".join(preloaded),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python keeps memory to its end
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


def run_module(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a module of this package, which loads libraries built with the sanitizers."""
    return _run(f"emulator.{name}", *arguments)


def run_tests(chosen: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run tests of operators on sanitized kernels: of each what a ``-k`` of pytest chooses."""
    files = {operator: f"test_{operator}.py" for operator in chosen}
    names = " or ".join(f"{files[operator]} and ({those})" for operator, those in chosen.items())
    folder = [f"tests/ops/{file}" for file in files.values()]
    # A report ends the process: what pytest had captured of it would be lost.
    quiet = ("-q", "-p", "no:cacheprovider", "--capture", "no")
    return _run("pytest", *quiet, "--device", "sanitized", "-k", names, *folder)


def _run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=_environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
