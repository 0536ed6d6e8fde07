"""Interleaved timing: all arms in one process, in turn, round after round.

A machine's speed drifts, so single times are worth little. Each round times every arm once, in an
order that rotates; what is reported is the median over rounds and, for ratios, the median, minimum
and maximum of the ratio within a round.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

Call = Callable[[], object]
#: Gives the seconds that so many calls take, one after another.
Stopwatch = Callable[[Call, int], float]


def cpu_seconds(call: Call, calls: int) -> float:
    """Seconds of some calls, by the system's clock."""
    return _seconds(time.perf_counter, call, calls)


def processor_seconds(call: Call, calls: int) -> float:
    """Processor seconds of some calls, of all threads together."""
    return _seconds(time.process_time, call, calls)


def _seconds(clock: Callable[[], float], call: Call, calls: int) -> float:
    started = clock()
    for _ in range(calls):
        call()
    return clock() - started


def cuda_seconds(call: Call, calls: int) -> float:
    """Seconds of some calls, between two CUDA events."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(calls):
        call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


def stopwatch(device: str) -> Stopwatch:
    """The clock for work on a device."""
    return cuda_seconds if device == "cuda" else cpu_seconds


def interleave(
    arms: dict[str, Call], rounds: int, clock: Stopwatch, seconds_per_round: float = 0.02
) -> dict[str, list[float]]:
    """Warm the arms and time them in turn, each as often as fills ``seconds_per_round``.

    Returns:
        Seconds of one call of every arm in every round.
    """
    calls = {}
    for name, arm in arms.items():
        arm()
        calls[name] = max(1, round(seconds_per_round / max(clock(arm, 1), 1e-7)))
        for _ in range(calls[name] - 1):
            arm()
    return take_turns(arms, rounds, clock, calls)


def take_turns(
    arms: dict[str, Call], rounds: int, clock: Stopwatch, calls: dict[str, int] | None = None
) -> dict[str, list[float]]:
    """Time warm arms in turn; each is called so many times in a round, once by default.

    Returns:
        Seconds of one call of every arm in every round.
    """
    calls = calls or dict.fromkeys(arms, 1)
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    names = list(arms)
    for turn in range(rounds if names else 0):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(clock(arms[name], calls[name]) / calls[name])
    return seconds
