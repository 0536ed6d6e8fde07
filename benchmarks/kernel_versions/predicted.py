"""What the model makes of a version: benchmarks/kernel_model/README.md."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kernel_model.card import CARDS
from kernel_model.cubin import Kernel, compile_cubin, read
from kernel_model.memory import own_memory
from kernel_model.predict import Prediction, predict
from kernel_model.record import observed
from kernel_model.state import WARP, Launch
from torch import Tensor

from . import emulated
from .subjects import Subject


@dataclass(frozen=True)
class Predicted:
    """A version on a card: its launches one after another."""

    registers: int
    launches: list[Prediction]

    def total(self, attribute: str) -> float:
        return sum(getattr(one, attribute) for one in self.launches)

    def term(self, name: str) -> float:
        return sum(one.terms[name] for one in self.launches)

    def instructions(self) -> float:
        """Count those that all threads issue."""
        return WARP * sum(sum(one.instructions.values()) for one in self.launches)


def compiled(sources: Sequence[Path], architecture: str) -> dict[str, Kernel]:
    """Compile some sources; give their kernels by name."""
    kernels = {}
    with tempfile.TemporaryDirectory() as room:
        for source in sources:
            cubin = Path(room) / "kernels.cubin"
            compile_cubin(source, architecture, cubin)
            kernels.update({kernel.name: kernel for kernel in read(cubin, architecture)})
    return kernels


def predict_version(
    subject: Subject, version: int, inputs: tuple[Tensor, ...], kernels: dict[str, Kernel]
) -> Predicted:
    """Predict the launches of a version; nothing is computed.

    The planes and channels that a grid has beside its pixels are all worked on in the same way.
    """
    heard: list[tuple[Kernel, Prediction]] = []

    def listen(launch: Launch) -> bool:
        kernel = kernels[launch.name]
        card = CARDS[kernel.architecture]
        heard.append((kernel, predict(kernel, launch, card, own_memory, alike=True)))
        return False

    with observed(listen, emulated.path()):
        subject.run(version, *inputs)
    return Predicted(max(kernel.registers for kernel, _ in heard), [one for _, one in heard])
