"""How memory is measured, and how time and memory are followed from size to size."""

from __future__ import annotations

import pytest
from build_once import use_build_once

from adarts_ext.bench import fresh
from adarts_ext.bench.arms import ARMS
from adarts_ext.bench.groups import Options, Size
from adarts_ext.bench.parts import fit, memory, scaling

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _build_once(monkeypatch):
    use_build_once(monkeypatch)


def test_kept_bytes_leaves_out_weights_and_images():
    small, large = (
        memory.kept_by_network(ARMS["plain"], Size(batch, 8, 3, 16)) for batch in (2, 4)
    )
    # all but alphas, betas and statistics grows with the batch
    assert 1.95 * small < large < 2 * small


def test_kept_bytes_of_the_memory_modes():
    names = ("plain", "ours, store", "ours, recompute")
    kept = [memory.kept_by_network(ARMS[name], Size(16, 8, 3, 16)) for name in names]
    assert kept[0] > 4 * kept[1] > 8 * kept[2] > 0


def test_peak_rise_of_a_fresh_process_holds_what_is_kept():
    size = Size(32, 8, 3, 16)
    kept = memory.kept_by_network(ARMS["ours, store"], size)
    arguments = "ours, store", [32, 8, 3, 16], "cpu", 1
    found = fresh.call(memory.measure_pass, *arguments, environment=memory.ENVIRONMENT)
    assert 0.9 * kept < found["peak_bytes"] < 3 * kept


@pytest.fixture
def sweep(monkeypatch):
    """A sweep that measures in this process."""
    monkeypatch.setattr(fresh, "call", lambda function, *arguments: function(*arguments))
    return scaling.Sweep(Options("cpu", 1, 1, (2,), 4, 3, 16, 0.0, None))


def test_plain_is_left_out_where_it_would_take_too_long(sweep, monkeypatch):
    monkeypatch.setattr(scaling, "MOST_SECONDS", 0.0)
    assert sweep(Size(2, 4, 3, 16))["frozen"].seconds
    later = sweep(Size(3, 4, 3, 16))
    assert later["frozen"].missing == "a step would take over 0 s"
    assert later["ours, store"].seconds


def test_plain_is_left_out_where_it_would_take_too_much_memory(sweep, monkeypatch):
    assert sweep(Size(2, 4, 3, 16))["frozen"].seconds
    monkeypatch.setattr(scaling, "available_bytes", lambda device: 4 * sweep.peak_bytes)
    assert sweep(Size(6, 4, 3, 16))["frozen"].seconds
    later = sweep(Size(8, 4, 3, 32))
    assert later["frozen"].missing == "a step would take over 80% of the memory"
    assert later["ours, recompute"].seconds


def test_a_step_is_measured_and_timed():
    peaks = [
        fresh.call(fit.measure_step, "ours, recompute", [batch, 4, 3, 16], "cpu", 1)["peak_bytes"]
        for batch in (16, 96)
    ]
    assert 0 < peaks[0] < peaks[1]
    assert fresh.call(fit.time_step, "ours, recompute", [16, 4, 3, 16], "cpu", 1) > 0
