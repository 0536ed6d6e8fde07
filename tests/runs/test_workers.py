"""Runs whose images are read by worker processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import asdict, replace

import pytest
from image_folder import write_images
from run_state import assert_equal_state, assert_same_run, interrupted_in
from several import start
from small_runs import TWO_NODES, small_search

from adarts_ext.cli import main
from adarts_ext.data import load_dataset
from adarts_ext.files import read_json, write_json
from adarts_ext.retrain import RetrainConfig, evaluate, retrain
from adarts_ext.runs.checkpoint import load_checkpoint
from adarts_ext.runs.data_record import changed_data, save_data_record
from adarts_ext.runs.folder import holds_checkpoint
from adarts_ext.search import loop, passes, search


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"), 16, 4)


@pytest.fixture(scope="module")
def config(images):
    return small_search(images, steps=1, selection="random")  # so that torch's generators matter


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """The folder of a search whose images were in memory."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    search(config, folder)
    return folder


def assert_same_end(ours, theirs):
    assert_equal_state(*(load_checkpoint(run / "checkpoint.pt") for run in (ours, theirs)))


def test_a_search_begun_with_images_in_memory_goes_on_with_workers(config, whole, tmp_path):
    with interrupted_in(2, loop), pytest.raises(KeyboardInterrupt):
        search(config, tmp_path)
    search(replace(config, workers=1), tmp_path, resume=True)
    assert_same_run(tmp_path, whole)


def test_a_search_begun_with_workers_goes_on_with_images_in_memory(config, whole, tmp_path):
    with interrupted_in(2, loop), pytest.raises(KeyboardInterrupt):
        search(replace(config, workers=0), tmp_path)
    assert read_json(tmp_path / "dataset.json")["digest"] is None
    search(config, tmp_path, resume=True)
    assert_same_end(tmp_path, whole)


def test_retraining_and_testing(images, tmp_path):
    config = RetrainConfig(
        dataset="folder",
        data_dir=str(images),
        device="cpu",
        init_channels=4,
        layers=3,
        batch_size=8,
        epochs=1,
    )
    retrain(TWO_NODES, config, tmp_path / "whole")
    result = retrain(TWO_NODES, replace(config, workers=1), tmp_path / "workers")
    assert_same_end(tmp_path / "workers", tmp_path / "whole")
    tested = evaluate(tmp_path / "workers", device="cpu")
    assert tested["test_accuracy"] == result.test_accuracy_last


def search_slowly(rank, arguments, said):
    """Run the command in a group of processes of its own, with slow steps, to be stopped between.

    What it says goes to a file.
    """
    os.setsid()
    os.dup2(os.open(said, os.O_CREAT | os.O_WRONLY), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    real = passes.weight_step

    def slow_step(*arguments):
        time.sleep(0.5)
        return real(*arguments)

    passes.weight_step = slow_step
    sys.exit(main(["search", *arguments]))


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_all_processes_saves_and_leaves_none(sent, status, config, whole, tmp_path):
    folder, options, said = (tmp_path / name for name in ("run", "options.json", "said"))
    write_json(options, {**asdict(config), "workers": 1, "save_every": 1e-9, "epochs": 2})
    arguments = ["--out", str(folder), "--config", str(options)]
    (run,) = start(search_slowly, (arguments, said), 1, join=False).processes
    try:
        until = time.monotonic() + 120
        while not holds_checkpoint(folder):
            assert run.is_alive(), said.read_text()
            assert time.monotonic() < until
            time.sleep(0.02)
        os.killpg(run.pid, sent)
        run.join(timeout=60)
    finally:
        if run.is_alive():
            os.killpg(run.pid, signal.SIGKILL)
    err = said.read_text()
    assert run.exitcode == status, err
    assert "go on from its last checkpoint" in err
    assert "Traceback" not in err
    with pytest.raises(ProcessLookupError):  # no worker is left of its group
        os.killpg(run.pid, 0)
    search(config, folder, resume=True)
    assert_same_end(folder, whole)


def test_files_are_compared_where_the_images_are_not(images, tmp_path):
    folder = write_images(tmp_path / "images", 4, 2)

    def load(workers=None):
        return load_dataset("folder", str(folder), workers=workers)

    in_files, in_memory = tmp_path / "files", tmp_path / "memory"
    for run, workers in ((in_files, 0), (in_memory, None)):
        run.mkdir()
        save_data_record(run, load(workers))
        assert changed_data(run, load(0)) is None
        assert changed_data(run, load()) is None
    # A run of an earlier version knows the images only.
    record = read_json(in_memory / "dataset.json")
    del record["files"]
    write_json(in_memory / "dataset.json", record)
    assert changed_data(in_memory, load(0)) is None

    (folder / "train" / "dark" / "0.png").write_bytes(
        (folder / "train" / "dark" / "1.png").read_bytes() + b"\0"
    )
    for run in (in_files, in_memory):
        for workers in (0, None):
            assert changed_data(run, load(workers)) == "its images or labels have changed"
