"""The launches of a search step, each kind of them predicted once.

The step is made by the emulator's operators, which are heard but not run: kernels of ours do not
depend on what they read. One does, and is run: it chooses the channels that the others gather.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from .card import CARDS
from .cubin import Kernel
from .memory import own_memory
from .predict import Prediction, predict
from .record import observed
from .state import Launch

#: Kernels whose results are addresses of others.
RUN = ("choose_kernel", "select_kernel")


@dataclass
class Predicted:
    """Predictions of all kinds of launches, and how many there are of each."""

    kinds: dict[tuple[object, bool], Prediction] = field(default_factory=dict)  # behind one of ours
    counts: Counter[tuple[object, bool]] = field(default_factory=Counter)

    def by_kernel(self) -> dict[str, list[tuple[int, Prediction]]]:
        """Give each kernel's kinds of launches with their counts, the longest kernel first."""
        kernels: dict[str, list[tuple[int, Prediction]]] = {}
        for kind, prediction in self.kinds.items():
            if count := self.counts[kind]:
                kernels.setdefault(prediction.launch.name, []).append((count, prediction))
        return dict(sorted(kernels.items(), key=lambda item: -total(item[1])))

    @property
    def launches(self) -> int:
        return self.counts.total()

    def seconds(self, attribute: str = "seconds") -> float:
        pairs = self.kinds.items()
        return sum(self.counts[kind] * getattr(one, attribute) for kind, one in pairs)


def total(some: list[tuple[int, Prediction]], attribute: str = "seconds") -> float:
    """Add up an attribute over the launches of a kernel."""
    return sum(count * getattr(one, attribute) for count, one in some)


def kind_of(launch: Launch) -> object:
    """Give what makes two launches alike: all but where their tensors lie.

    Example:
        >>> two = [Launch("k", (1, 1, 1), (32, 1, 1), 0, p.to_bytes(8, "little")) for p in
        ...        (0x7F0000001000, 0x7F0000002000)]
        >>> kind_of(two[0]) == kind_of(two[1])
        True
    """
    padded = launch.parameters + bytes(-len(launch.parameters) % 8)
    words = np.frombuffer(padded, np.uint64).copy()
    words[(words > 1 << 40) & (words < 1 << 47)] = 1
    return launch.name, launch.grid, launch.block, launch.dynamic, words.tobytes()


def predict_launches(
    make: Callable[[], object],
    kernels: dict[str, dict[str, Kernel]],
    library: Path,
    others: Callable[[], int],
) -> dict[str, Predicted]:
    """Predict every launch that a call makes, on the cards of some architectures.

    Args:
        make: the call, of emulated operators.
        kernels: by architecture and name.
        library: the emulator's.
        others: how many kernels of torch were launched so far: one of ours that follows another of
            ours has the card's shorter gap.
    """
    before = None  # others, when one of ours was launched last
    predicted = {architecture: Predicted() for architecture in kernels}

    def listen(launch: Launch) -> bool:
        nonlocal before
        now = others()
        follows, before = before == now, now
        kind = kind_of(launch)
        for architecture, so_far in predicted.items():
            card, kinds = CARDS[architecture], so_far.kinds
            if (kind, False) not in kinds:
                one = predict(kernels[architecture][launch.name], launch, card, own_memory)
                kinds[kind, False] = one
                kinds[kind, True] = replace(one, gap=card.dependent_gap)
            so_far.counts[kind, follows] += 1
        return launch.name.split("<")[0] in RUN

    with observed(listen, library):
        make()
    return predicted
