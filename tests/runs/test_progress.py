from __future__ import annotations

import sys

from adarts_ext.runs.clock import duration
from adarts_ext.runs.progress import Progress


def test_the_line_of_an_epoch_tells_the_time_left(capsys):
    with Progress("retrain", epochs=4, epochs_done=0, steps=1) as progress:
        for epoch in (1, 4):
            progress.begin_epoch(epoch)
            progress.end_epoch(epoch, seconds=40.0, line=f"epoch {epoch}")
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["epoch 1, 40.0 s, 2 min left", "epoch 4, 40.0 s, 0 s left"]


def test_the_time_left_is_that_of_the_runs_that_follow_too(capsys):
    with Progress("retrain", 4, 0, steps=1, epochs_before=4, epochs_after=8) as progress:
        progress.begin_epoch(3)
        progress.end_epoch(3, seconds=3600.0, line="epoch 3")
    assert capsys.readouterr().err == "epoch 3, 3600.0 s, 9 h 0 min left\n"


def test_the_bar_is_over_all_runs(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress("retrain", 4, 1, steps=10, epochs_before=4, epochs_after=2):
        pass
    assert "50/100" in capsys.readouterr().err


def test_a_duration_is_never_longer_than_the_time():
    units = {"s": 1, "min": 60, "h": 3600, "d": 86400}
    for seconds in (1, 59, 61, 3599, 3600, 7322, 86399, 86400, 200_000, 5_000_000):
        words = duration(seconds).split()
        told = sum(int(n) * units[u] for n, u in zip(words[::2], words[1::2], strict=True))
        assert told <= seconds < told + units[words[-1]]


def test_the_bar_counts_the_steps_of_an_epoch_that_goes_on(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress("retrain", 4, 1, steps=10) as progress:
        progress.begin_epoch(2, steps_done=7)
    assert "17/40" in capsys.readouterr().err
