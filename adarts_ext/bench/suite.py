"""The benchmarks as pytest sees them: every arm of every group is an entry of pytest-benchmark.

``adarts bench`` runs this file, see :mod:`adarts_ext.bench.runner`, which gives the groups.
"""

from __future__ import annotations

import pytest

_shown = [0.0]


def played_back() -> float:
    """A timer that shows what was measured before, when the arms of a group took turns."""
    return _shown[0]


def play(benchmark, seconds: list[float]) -> None:
    """Hand measured seconds to pytest-benchmark, one a round."""
    rest = iter(seconds)

    def start() -> None:
        _shown[0] = 0.0

    def advance() -> None:
        _shown[0] = next(rest)

    benchmark.pedantic(advance, setup=start, rounds=len(seconds))


@pytest.mark.benchmark(timer=played_back)
def test_arm(group, arm, measured, described, benchmark):
    """One arm: its seconds in every round, and whatever else was found."""
    if not measured.seconds:
        pytest.skip(measured.missing)
    benchmark.group, benchmark.name, benchmark.fullname = group, arm, f"{group}: {arm}"
    benchmark.extra_info.update(described)
    play(benchmark, measured.seconds)
