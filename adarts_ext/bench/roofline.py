"""How near operators and cells come to what the device can do.

The roofline of Williams, Waterman and Patterson (CACM 52(4), 2009): arithmetic cannot be faster
than the device's peak, nor than its bandwidth times the operations for each byte. The bytes are the
fewest that a pass must move, so that an arm that moves more lies lower.
"""

from __future__ import annotations

from dataclasses import dataclass

from adarts_ext.bench.results import Results
from adarts_ext.bench.roofs import COPY, PRODUCT

PARTS = ("ops", "cell")


@dataclass(frozen=True)
class Point:
    """An arm in the roofline's plane."""

    part: str
    group: str
    arm: str
    intensity: float  # operations a byte
    speed: float  # operations a second

    def part_of_roof(self, bandwidth: float, peak: float) -> float:
        """What it reaches of the roof above it.

        Example:
            >>> Point("ops", "", "", intensity=0.5, speed=20.0).part_of_roof(100.0, 1000.0)
            0.4
        """
        return self.speed / min(peak, bandwidth * self.intensity)


def roofs(results: Results) -> tuple[float, float]:
    """Bytes a second of a copy and operations a second of a matrix product."""
    (group,) = results.groups("roofs").values()
    copy, product = group[COPY], group[PRODUCT]
    return copy.info["bytes"] / copy.median, product.info["flops"] / product.median


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
