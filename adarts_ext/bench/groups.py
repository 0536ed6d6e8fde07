"""What a part of the benchmarks is made of: groups of arms that are measured together."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

BASELINE = "plain"
FAILED = "failed"


@dataclass(frozen=True)
class Size:
    """How large the network and its batches are; by default those of the published search."""

    batch: int = 64
    channels: int = 16
    layers: int = 8
    image: int = 32


@dataclass(frozen=True)
class Options:
    """How to measure, and what.

    Args:
        device: ``"cpu"`` or ``"cuda"``.
        threads: threads of the CPU.
        rounds: how often every arm is timed.
        batches: batch sizes of cells, search steps and memory.
        channels: channels of a node of the first cell.
        layers: cells of the network.
        image: side of the images, in pixels.
        compile_seconds: what torch.compile is given in all for the operators, and for a step.
        memory_limit: bytes that ``fit`` may fill; None for what is there.
    """

    device: str
    threads: int
    rounds: int
    batches: tuple[int, ...]
    channels: int
    layers: int
    image: int
    compile_seconds: float
    memory_limit: int | None

    def size(self, batch: int) -> Size:
        """The size of the network with a batch."""
        return Size(batch, self.channels, self.layers, self.image)


class NotMeasuredError(Exception):
    """An arm cannot be measured; the message says why."""


@dataclass(frozen=True)
class Measured:
    """An arm's seconds in every round, with what else was found, or why there are none."""

    seconds: list[float]
    info: dict[str, object] = field(default_factory=dict)
    missing: str = ""


def not_measured(error: Exception) -> Measured:
    """Say why an arm was not measured; the others are worth measuring all the same."""
    if isinstance(error, NotMeasuredError):
        return Measured([], missing=str(error))
    if isinstance(error, torch.OutOfMemoryError):
        return Measured([], missing="out of memory")
    traceback.print_exception(error)
    return Measured([], missing=f"{FAILED}: {type(error).__name__}")


@dataclass(frozen=True)
class Group:
    """Arms that are compared with each other and measured together.

    Args:
        part: The part that the group belongs to.
        name: What is measured; groups of one name are shown as one.
        arms: The names of the arms.
        measure: Measures all of them.
        info: What holds for all of them.
    """

    part: str
    name: str
    arms: tuple[str, ...]
    measure: Callable[[], dict[str, Measured]]
    info: dict[str, object] = field(default_factory=dict)
