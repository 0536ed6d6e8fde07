"""How memory is measured, and how time and memory are followed from size to size."""

from __future__ import annotations

import os
from pathlib import Path

import in_fresh
import pytest
from build_once import use_build_once

from adarts_ext.bench import arms, fresh
from adarts_ext.bench.arms import ARMS
from adarts_ext.bench.groups import Options, Size
from adarts_ext.bench.parts import memory, scaling

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


def test_kept_bytes_of_the_memory_modes(monkeypatch):
    monkeypatch.setattr(arms, "NODES", 4)
    names = ("plain", "ours, store", "ours, recompute")
    kept = [memory.kept_by_network(ARMS[name], Size(16, 8, 3, 16)) for name in names]
    assert kept[0] > 4 * kept[1] > 8 * kept[2] > 0


@pytest.fixture(scope="module")
def measured():
    """What a fresh process measures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        size = [32, 8, 3, 16]
        return fresh.call(in_fresh.measure, size, [16, 96], environment=memory.ENVIRONMENT)


def test_peak_rise_of_a_fresh_process_holds_what_is_kept(measured):
    kept = memory.kept_by_network(ARMS["ours, store"], Size(32, 8, 3, 16))
    assert 0.9 * kept < measured["pass"]["peak_bytes"] < 3 * kept


def test_a_step_is_measured_and_timed(measured):
    peaks = [step["peak_bytes"] for step in measured["steps"]]
    assert 0 < peaks[0] < peaks[1]
    assert measured["seconds"] > 0


@pytest.fixture
def sweep(monkeypatch):
    """A sweep that measures in this process."""
    monkeypatch.setattr(fresh, "call", lambda function, *arguments: function(*arguments))
    return scaling.Sweep(Options("cpu", 1, 1, (2,), 8, 3, 16, 0.0, None))


def test_plain_is_left_out_where_it_would_take_too_long(sweep, monkeypatch):
    monkeypatch.setattr(scaling, "MOST_SECONDS", 0.0)
    assert sweep(Size(2, 8, 3, 16))["frozen"].seconds
    later = sweep(Size(3, 8, 3, 16))
    assert later["frozen"].missing == "a step would take over 0 s"
    assert later["ours, store"].seconds


def test_plain_is_left_out_where_it_would_take_too_much_memory(sweep, monkeypatch):
    assert sweep(Size(2, 8, 3, 16))["frozen"].seconds
    monkeypatch.setattr(scaling, "available_bytes", lambda device: 4 * sweep.peak_bytes)
    assert sweep(Size(6, 8, 3, 16))["frozen"].seconds
    later = sweep(Size(8, 8, 3, 32))
    assert later["frozen"].missing == "a step would take over 80% of the memory"
    assert later["ours, recompute"].seconds
