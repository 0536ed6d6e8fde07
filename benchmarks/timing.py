"""Interleaved timing: all arms in one process, in turn, round after round.

A machine's speed drifts, so single times are worth little. Each round times every arm once, in an
order that rotates; what is reported is the median over rounds and, for ratios, the median, minimum
and maximum of the ratio within a round.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Seconds per call of every arm in every round."""

    seconds: dict[str, list[float]]

    def median(self, arm: str) -> float:
        """Median seconds of one call."""
        return statistics.median(self.seconds[arm])

    def ratios(self, arm: str, over: str) -> list[float]:
        """How many times faster ``over`` is than ``arm``, round by round."""
        return [a / b for a, b in zip(self.seconds[arm], self.seconds[over], strict=True)]

    def speedup(self, arm: str, over: str) -> tuple[float, float, float]:
        """Median, minimum and maximum of :meth:`ratios`."""
        ratios = self.ratios(arm, over)
        return statistics.median(ratios), min(ratios), max(ratios)


def interleave(
    arms: dict[str, Callable[[], object]], rounds: int, seconds_per_round: float = 0.02
) -> Timing:
    """Time the arms in turn; each is called as often as fills ``seconds_per_round``."""
    calls = {}
    for name, arm in arms.items():
        arm()
        started = time.perf_counter()
        arm()
        once = time.perf_counter() - started
        calls[name] = max(1, round(seconds_per_round / max(once, 1e-7)))
        for _ in range(calls[name]):
            arm()
    return take_turns(arms, rounds, calls)


def take_turns(
    arms: dict[str, Callable[[], object]], rounds: int, calls: dict[str, int] | None = None
) -> Timing:
    """Time warm arms in turn; each is called so many times in a round, once by default."""
    calls = calls or dict.fromkeys(arms, 1)
    seconds = {name: [] for name in arms}
    names = list(arms)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            arm = arms[name]
            started = time.perf_counter()
            for _ in range(calls[name]):
                arm()
            seconds[name].append((time.perf_counter() - started) / calls[name])
    return Timing(seconds)
