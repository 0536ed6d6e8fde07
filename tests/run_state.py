"""Breaking runs off, and comparing what they leave: all but what was measured."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import torch

from adarts_ext.files import read_json
from adarts_ext.runs.checkpoint import load_checkpoint
from adarts_ext.runs.epochs import Epochs
from adarts_ext.runs.folder import CHECKPOINT_FILE, CONFIG_FILE

MEASURED = {"seconds", "step_seconds", "time", "images_per_second", "peak_memory_bytes"}


@contextmanager
def interrupted_in(epoch: int, loop: ModuleType) -> Iterator[None]:
    """Let runs of a loop, that of the search or of retraining, break off as an epoch begins."""
    whole_epoch = loop.train_epoch

    def breaking_epoch(state, config, training, *rest):
        if training.epoch == epoch:
            raise KeyboardInterrupt
        return whole_epoch(state, config, training, *rest)

    with mock.patch.object(loop, "train_epoch", breaking_epoch):
        yield


@contextmanager
def copied_in(epoch: int, loop: ModuleType, run: Path, to: Path) -> Iterator[None]:
    """Copy the folder of a run as an epoch begins: what is there had the run been killed then."""
    whole_epoch = loop.train_epoch

    def copying_epoch(state, config, training, *rest):
        if training.epoch == epoch:
            shutil.copytree(run, to)
        return whole_epoch(state, config, training, *rest)

    with mock.patch.object(loop, "train_epoch", copying_epoch):
        yield


@contextmanager
def interrupted_at(epoch: int, step: int, sent: int = signal.SIGINT) -> Iterator[None]:
    """Send runs a signal after a step of an epoch, so that they keep what they have and stop."""
    pause = Epochs.pause

    def interrupted(epochs, training, *rest):
        if (training.epoch, training.steps_done) == (epoch, step):
            epochs.stop.received = sent
        pause(epochs, training, *rest)

    with mock.patch.object(Epochs, "pause", interrupted):
        yield


def signal_when(path: Path, number: int) -> None:
    """Send this process a signal once a file is there."""

    def watch() -> None:
        while not path.exists():
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    threading.Thread(target=watch, daemon=True).start()


def measured(result: Any) -> dict[str, Any]:
    """What a run's result has of time and memory."""
    return {name: value for name, value in result.record().items() if name in MEASURED}


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
