"""Comparing what runs leave: all but what was measured of time and memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from adarts_ext.files import read_json
from adarts_ext.runs.checkpoint import load_checkpoint
from adarts_ext.runs.folder import CHECKPOINT_FILE, CONFIG_FILE

MEASURED = {"seconds", "step_seconds", "time", "images_per_second", "peak_memory_bytes"}


def assert_equal_state(ours: Any, theirs: Any) -> None:
    """All but times and memory are the same, tensors bit for bit."""
    assert type(ours) is type(theirs)
    if isinstance(ours, torch.Tensor):
        assert torch.equal(ours, theirs)
    elif isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for key in ours.keys() - MEASURED:
            assert_equal_state(ours[key], theirs[key])
    elif isinstance(ours, list | tuple):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert_equal_state(one, other)
    else:
        assert ours == theirs


def assert_same_run(ours: Path, theirs: Path) -> None:
    """Two finished runs have the same checkpoint and the same JSON files, but for the options."""
    assert_equal_state(*(load_checkpoint(path / CHECKPOINT_FILE) for path in (ours, theirs)))
    files = [sorted(p.relative_to(path) for p in path.rglob("*.json")) for path in (ours, theirs)]
    assert files[0] == files[1]
    for name in files[0]:
        if name.name != CONFIG_FILE:
            assert_equal_state(read_json(ours / name), read_json(theirs / name))
