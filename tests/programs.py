"""Small programs of bash that stand for others."""

from __future__ import annotations

from pathlib import Path


def write_program(path: Path, text: str) -> Path:
    """Write a program that can be run; return its path."""
    path.write_text(f"#!/usr/bin/env bash\n{text.strip()}\n")
    path.chmod(0o755)
    return path
