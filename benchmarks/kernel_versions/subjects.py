"""The two kernels that have versions: where they are, what they are given, how wrong they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from kernel_model.library import KERNELS
from torch import Tensor

from . import emulated, reference

MEAN = 100  # of a channel, in standard deviations, when the reduction's errors are taken


@dataclass(frozen=True)
class Subject:
    """A kernel that has versions."""

    run: Callable[..., Tensor]  # of a version and its inputs
    exact: Callable[..., Tensor]
    ideas: tuple[str, ...]
    sources: tuple[Path, ...]
    item: str  # of four numbers, for which instructions are counted
    shape: str
    cases: dict[str, Callable[[], tuple[Tensor, ...]]]  # inputs, of which only the sizes count
    small: Callable[[], tuple[Tensor, ...]]  # inputs whose results are looked at

    @property
    def name(self) -> str:
        return self.run.__name__


def image_blocks(batch: int) -> tuple[Tensor, Tensor]:
    """Give the channels that five edges select, those into the last node of a first cell."""
    h = emulated.allocate(batch // emulated.IMAGES, 20, 32, 32, emulated.IMAGES)
    return h, emulated.allocate(20, 5, 5)


def planes(channels: int, side: int) -> tuple[Tensor]:
    """Give the channels of a batch of 64."""
    return (emulated.allocate(64, channels, side * side),)


SUBJECTS = (
    Subject(
        run=emulated.stencil,
        exact=reference.stencil,
        ideas=emulated.STENCIL,
        sources=(emulated.SOURCES / "stencil.cu",),
        item="four images of a pixel",
        shape="20 channels of 32x32",
        cases={"N=64": lambda: image_blocks(64), "N=256": lambda: image_blocks(256)},
        small=lambda: (torch.randn(1, 4, 20, 20, emulated.IMAGES), torch.randn(4, 5, 5)),
    ),
    Subject(
        run=emulated.reduction,
        exact=reference.reduction,
        ideas=emulated.REDUCTION,
        sources=(emulated.SOURCES / "reduction.cu", KERNELS / "normalized_mixed_sum.cu"),
        item="four values",
        shape="N = 64",
        # a candidate of an edge too wide for the fused cell; all of them; one of few channels
        cases={
            "128 channels": lambda: planes(128, 16),
            "six times 128": lambda: planes(6 * 128, 16),
            "16 channels": lambda: planes(16, 32),
        },
        small=lambda: (torch.randn(64, 4, 16 * 16) + MEAN,),
    ),
)


def errors(subject: Subject) -> list[float]:
    """Give the largest error of each version, relative to that of plain torch in float32."""
    inputs = subject.small()
    exact = subject.exact(*(one.double() for one in inputs))
    plain = (subject.exact(*inputs) - exact).abs().max()
    results = (subject.run(version, *inputs) for version in range(1, len(subject.ideas) + 1))
    return [float((result - exact).abs().max() / plain) for result in results]
