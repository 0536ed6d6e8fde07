"""Stopping a search by a signal, and saving it within an epoch."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from image_folder import write_images
from run_state import assert_same_run
from small_runs import small_search

from adarts_ext import files
from adarts_ext.runs import epochs, processes
from adarts_ext.runs.checkpoint import load_checkpoint
from adarts_ext.runs.stop import stop_on_request
from adarts_ext.search import loop, passes, search

STEPS = 4  # of an epoch
OFTEN = 1e-9  # minutes: a checkpoint after every step


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    images = write_images(tmp_path_factory.mktemp("images"), 32, 2)
    return small_search(
        images,
        selection="random",  # so that the generators matter
        steps=1,
        warmup_epochs=1,
        learning_rate=0.1,
        save_every=0.0,
    )


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """The folder of a search that went through without a break."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    search(config, folder)
    return folder


def at_step(number, act, monkeypatch, name="weight_step"):
    """Let ``act`` run within a step, or within any function of the search, at its call number."""
    module = passes if hasattr(passes, name) else loop
    calls, real = [], getattr(module, name)

    def acting(*arguments):
        calls.append(None)
        if len(calls) == number:
            act()
        return real(*arguments)

    monkeypatch.setattr(module, name, acting)


def stop_at_once():
    raise KeyboardInterrupt


def come(folder):
    """How many epochs and steps of the next one lie behind the checkpoint of a folder."""
    state = load_checkpoint(folder / "checkpoint.pt", "search")
    return len(state["history"]), (state["under_way"] or {}).get("step")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "sent", "error", "status"),
    [
        (1, signal.SIGINT, KeyboardInterrupt, None),
        (STEPS + 2, signal.SIGTERM, SystemExit, 143),
        (2 * STEPS, signal.SIGINT, KeyboardInterrupt, None),
    ],
)
def test_a_signal_lets_the_step_end_and_saves(
    step, sent, error, status, config, whole, tmp_path, monkeypatch
):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patch:
        at_step(step, lambda: signal.raise_signal(sent), patch)
        with pytest.raises(error) as caught:
            search(config, tmp_path)
    assert getattr(caught.value, "code", None) == status
    assert come(tmp_path) == ((step - 1) // STEPS, (step - 1) % STEPS + 1)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    torch.manual_seed(99)  # nothing may hang on where the generator stood
    search(config, tmp_path, resume=True)
    assert_same_run(tmp_path, whole)


@pytest.mark.parametrize(
    ("name", "call", "where"),
    [("evaluate_network", 2, (1, STEPS)), ("summary", 1, (1, None))],
)
@pytest.mark.slow
def test_a_signal_between_the_steps_of_two_epochs(
    name, call, where, config, whole, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        at_step(call, lambda: signal.raise_signal(signal.SIGTERM), patch, name)
        with pytest.raises(SystemExit):
            search(config, tmp_path)
    assert come(tmp_path) == where
    search(config, tmp_path, resume=True)
    assert_same_run(tmp_path, whole)


def test_a_signal_while_the_processes_agree_counts_the_next_time(
    config, whole, tmp_path, monkeypatch
):
    calls = []

    def agree(*numbers):
        calls.append(None)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
        return list(numbers)

    with monkeypatch.context() as patch:
        patch.setattr(processes, "agree", agree)
        with pytest.raises(SystemExit):
            search(config, tmp_path)
    assert come(tmp_path) == (0, 3)
    search(config, tmp_path, resume=True)
    assert_same_run(tmp_path, whole)


def test_a_signal_within_the_last_save_is_not_lost(config, tmp_path, monkeypatch):
    at_step(2, lambda: signal.raise_signal(signal.SIGINT), monkeypatch, "summary")
    with pytest.raises(KeyboardInterrupt):
        search(config, tmp_path)
    assert come(tmp_path) == (2, None)
    search(config, tmp_path, resume=True)


def test_a_second_signal_stops_at_once(config, tmp_path, monkeypatch):
    def twice():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("went on")

    at_step(STEPS + 2, twice, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        search(config, tmp_path)
    assert come(tmp_path) == (1, None)


def test_outside_of_the_main_thread_signals_are_not_touched(config, whole, tmp_path):
    thread = threading.Thread(target=search, args=(config, tmp_path))
    thread.start()
    handler = signal.getsignal(signal.SIGINT)
    thread.join()
    assert handler is signal.default_int_handler
    assert_same_run(tmp_path, whole)


def test_a_request_that_was_not_seen_is_met_at_the_end():
    seen = []
    with pytest.raises(KeyboardInterrupt), stop_on_request() as stop:  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        seen.append(stop.received)
    assert seen == [signal.SIGINT]


def test_an_ignored_signal_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with stop_on_request() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.received is None
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.fixture(scope="module")
def stopped(config, tmp_path_factory):
    """The folder of a search that stopped at once, with a checkpoint after every step."""
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        at_step(STEPS + 4, stop_at_once, patch)
        with pytest.raises(KeyboardInterrupt):
            search(replace(config, save_every=OFTEN), folder)
    assert come(folder) == (1, 3)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("saved", ["last", "before", "neither"])
def test_a_checkpoint_within_an_epoch_is_gone_on_from(saved, config, whole, stopped, tmp_path):
    """Also from the one before it; and with another ``save_every``, which is free."""
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    names = {"last": [], "before": ["checkpoint.pt"]}
    names["neither"] = ["checkpoint.pt", "checkpoint.previous.pt"]
    for name in names[saved]:
        (tmp_path / name).write_bytes(b"damaged")
    if saved == "neither":
        with pytest.raises(ValueError, match=r"checkpoint\.pt: damaged.*previous\.pt: damaged"):
            search(config, tmp_path, resume=True)
        return
    if saved == "before":
        with pytest.warns(UserWarning, match=r"damaged.*the one before it, checkpoint\.previous"):
            search(config, tmp_path, resume=True)
    else:
        search(config, tmp_path, resume=True)
    assert_same_run(tmp_path, whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "number", "words"),
    [
        ("fsync", errno.ENOSPC, "No space left on device"),
        ("replace", errno.EROFS, "Read-only file system"),
    ],
)
def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(
    function, number, words, config, whole, tmp_path, monkeypatch
):
    def fail(*arguments):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        at_step(STEPS + 3, lambda: patch.setattr(files.os, function, fail), patch)
        with pytest.raises(OSError, match=words) as caught:
            search(replace(config, save_every=OFTEN), tmp_path)
    assert caught.value.filename == str(tmp_path / "checkpoint.pt")
    assert "\n" not in str(caught.value)
    assert come(tmp_path) == (1, 2)
    assert not list(tmp_path.glob(".*"))
    search(config, tmp_path, resume=True)
    assert_same_run(tmp_path, whole)


def test_a_diverged_state_is_not_saved(config, tmp_path, monkeypatch):
    real = passes.weight_step

    def diverging_step(*arguments):
        loss, logits = real(*arguments)
        return loss * float("nan"), logits

    at_step(
        STEPS + 2, lambda: monkeypatch.setattr(passes, "weight_step", diverging_step), monkeypatch
    )
    with pytest.raises(ValueError, match="diverged in epoch 2, step 3"):
        search(replace(config, save_every=OFTEN), tmp_path)
    assert come(tmp_path) == (1, 2)


def test_it_is_saved_within_an_epoch_as_often_as_asked(config, tmp_path, monkeypatch):
    minutes = iter(range(1000))
    clock = SimpleNamespace(monotonic=lambda: 60.0 * next(minutes))  # a look at it takes a minute
    monkeypatch.setattr(epochs, "time", clock)
    saved, real = [], epochs.Epochs._save

    def save(self, under_way, rng=None):
        saved.append(under_way and under_way["step"])
        real(self, under_way, rng)

    monkeypatch.setattr(epochs.Epochs, "_save", save)
    search(replace(config, epochs=1, warmup_epochs=0, save_every=3), tmp_path / "often")
    assert saved == [3, STEPS, None]  # the second within the evaluation
    saved.clear()
    search(replace(config, epochs=1, warmup_epochs=0, save_every=0), tmp_path / "never")
    assert saved == [None]
