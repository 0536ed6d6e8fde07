"""How near operators and cells come to what the device can do.

The roofline of Williams, Waterman and Patterson (CACM 52(4), 2009): arithmetic cannot be faster
than the device's peak, nor than its bandwidth times the operations for each byte. The bytes are the
fewest that a pass must move, so that an arm that moves more lies lower.
"""

from __future__ import annotations

from dataclasses import dataclass

from adarts_ext.bench.parts.roofs import PRODUCT
from adarts_ext.bench.results import Results

PARTS = ("ops", "cell")


@dataclass(frozen=True)
class Point:
    """An arm in the roofline's plane."""

    part: str
    group: str
    arm: str
    intensity: float  # operations a byte
    speed: float  # operations a second


@dataclass(frozen=True)
class Roofs:
    """What the device can do: bytes a second of copies, and operations a second."""

    bandwidths: dict[str, float]
    peak: float

    def above(self, intensity: float) -> float:
        """Operations a second that are possible at the most.

        Example:
            >>> Roofs({"copy in memory": 100.0}, peak=1000.0).above(0.5)
            50.0
        """
        return min(self.peak, max(self.bandwidths.values()) * intensity)


def roofs(results: Results) -> Roofs:
    """Read the roofs from the results."""
    (group,) = results.groups("roofs").values()
    speeds = {
        name: entry.info["flops" if name == PRODUCT else "bytes"] / entry.median
        for name, entry in group.items()
    }
    peak = speeds.pop(PRODUCT)
    return Roofs(speeds, peak)


def points(results: Results) -> list[Point]:
    """All arms whose operations and bytes are known."""
    return [
        Point(
            entry.part,
            entry.group,
            entry.arm,
            entry.info["flops"] / entry.info["bytes"],
            entry.info["flops"] / entry.median,
        )
        for entry in results.entries
        if entry.part in PARTS and entry.info["flops"] and entry.info["bytes"]
    ]
