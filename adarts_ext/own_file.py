"""Importing a file of one's own, which runs it: only where its user has named it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def run_file(path: str | Path, kind: str) -> ModuleType:
    """Import a Python file as a module.

    **The file is run**, with all that it may do, as ``python FILE.py`` would run it.

    Args:
        path: The file.
        kind: What it has, a part of the module's name.

    Raises:
        ValueError: If it is not there, or fails.
    """
    if not Path(path).is_file():
        raise ValueError(f"no file {path}")
    spec = importlib.util.spec_from_file_location(f"own_{kind}_{Path(path).stem}", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{path}: {type(error).__name__}: {error}") from error
    return module
