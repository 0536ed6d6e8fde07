"""Where the time of a run goes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

STEP_PARTS = ("data", "architecture step", "weight step")
PARTS = (*STEP_PARTS, "evaluation", "saving", "other")


class Clock:
    """The seconds that each part of an epoch took, by the clock of the host.

    It never waits for the device: work that the host only starts counts where the host waits for
    it, so that on a GPU most of a step is in the part that reads its loss.

    Args:
        seconds: What the epoch took before, when it goes on.

    Example:
        >>> clock = Clock({"data": 2.0})
        >>> clock.lap("data")
        >>> clock.seconds["data"] > 2
        True
        >>> sorted(clock.take()), clock.seconds
        (['data', 'other'], {})
    """

    def __init__(self, seconds: dict[str, float] | None = None) -> None:
        self.seconds = dict(seconds or {})
        self._last = time.perf_counter()

    def lap(self, part: str) -> None:
        """Count the time since the last call as that of a part, one of :data:`PARTS`."""
        now = time.perf_counter()
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self._last
        self._last = now

    def take(self) -> dict[str, float]:
        """Return the seconds of an epoch by part, those of no part as ``other``, and start anew."""
        self.lap("other")
        taken, self.seconds = self.seconds, {}
        return taken


def time_record(seconds: dict[str, float], steps: int, images: int) -> dict[str, Any]:
    """Return what the record of an epoch says about its time.

    Args:
        seconds: What :meth:`Clock.take` gave.
        steps: Steps of the epoch.
        images: How many images the steps trained the weights on.

    Returns:
        ``step_seconds``, the time of a step with its data; ``images_per_second`` of the steps;
        ``seconds``, the time of all; and ``time``, the seconds of each part.

    Example:
        >>> record = time_record({"weight step": 3.0, "other": 1.0}, steps=2, images=12)
        >>> record["step_seconds"], record["images_per_second"], record["seconds"]
        (1.5, 4.0, 4.0)
    """
    stepping = sum(seconds.get(part, 0.0) for part in STEP_PARTS)
    return {
        "step_seconds": stepping / steps,
        "images_per_second": images / stepping,
        "seconds": sum(seconds.values()),
        "time": {part: seconds.get(part, 0.0) for part in PARTS},
    }


def sum_up_times(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sum up what the records of epochs, or of runs, say about time and memory.

    Args:
        records: Each with ``seconds``, ``time``, ``images_per_second`` and ``peak_memory_bytes``,
            over as many images; those of an earlier version may lack all but the first.

    Returns:
        The same of all together: sums, the mean rate, and the highest peak; None of the last two
        where a record lacks it.

    Example:
        >>> record = {"seconds": 2.0, "time": {"data": 2.0}, "peak_memory_bytes": 7}
        >>> found = sum_up_times([record | {"images_per_second": rate} for rate in (2.0, 6.0)])
        >>> found["seconds"], found["time"]["data"], found["images_per_second"]
        (4.0, 4.0, 3.0)
    """
    times = [record.get("time", {}) for record in records]
    rates = [record.get("images_per_second") for record in records]
    peaks = [record.get("peak_memory_bytes") for record in records]
    return {
        "seconds": sum(record["seconds"] for record in records),
        "time": {part: sum(one.get(part, 0.0) for one in times) for part in PARTS},
        "images_per_second": None if None in rates else statistics.harmonic_mean(rates),
        "peak_memory_bytes": None if None in peaks else max(peaks),
    }


def duration(seconds: float) -> str:
    """Write a time in the two largest units that it has.

    Example:
        >>> [duration(seconds) for seconds in (0, 59, 60, 3599, 5000, 90000, 900000)]
        ['0 s', '59 s', '1 min', '59 min', '1 h 23 min', '1 d 1 h', '10 d 10 h']
    """
    minutes = int(seconds // 60)
    if minutes == 0:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // (24 * 60)} d {minutes // 60 % 24} h"
