"""Launches a faulty kernel: ``python -m emulator.faults <path of the planted module> <kernel>``."""

from __future__ import annotations

import sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import numpy as np


def load_module(path: Path | str) -> ModuleType:
    """Load a compiled Python module from its file."""
    name = Path(path).stem
    loader = ExtensionFileLoader(name, str(path))
    module = module_from_spec(spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


def launch(
    planted: ModuleType,
    kernel: str,
    grid: tuple[int, ...] = (1,),
    block: tuple[int, ...] = (64,),
    shared_bytes: int = 0,
) -> None:
    """Launch a faulty kernel."""
    planted.run(kernel, grid, block, shared_bytes, np.ones(64, np.int32))


if __name__ == "__main__":
    launch(load_module(sys.argv[1]), sys.argv[2])
