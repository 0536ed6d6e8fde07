"""Trainings from several seeds: what they come to, how they go on, what is shown of them."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest
from image_folder import write_images
from run_state import interrupted_in, measured
from small_runs import TWO_NODES, small_retrain

from adarts_ext.files import read_json
from adarts_ext.retrain import RetrainConfig, evaluate, loop, retrain, retrain_seeds
from adarts_ext.retrain import seeds as seeds_module
from adarts_ext.runs import epochs
from adarts_ext.runs.folder import sole_run
from adarts_ext.runs.seeds import seeds_of


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A training on 64 + 24 small images in two classes: dark and light noise."""
    images = write_images(tmp_path_factory.mktemp("images"), 32, 12, channels=3)
    return small_retrain(images, epochs=3, batch_size=16, learning_rate=0.1)


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    """The folder of a run that went through without a break, and its result."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return folder, retrain(TWO_NODES, config, folder)


def test_seeds_are_summed_up(finished, config, tmp_path):
    short = replace(config, epochs=1)
    summary = retrain_seeds(TWO_NODES, short, tmp_path / "runs", [3, 5])
    runs = [read_json(tmp_path / "runs" / f"seed-{seed}" / "result.json") for seed in (3, 5)]
    assert [run.record() for run in summary.runs] == runs
    assert list(summary.seeds) == [run["seed"] for run in runs] == [3, 5]
    assert [run.folder.name for run in summary.runs] == ["seed-3", "seed-5"]
    assert summary.seconds == sum(run["seconds"] for run in runs)
    for which in ("last", "best"):
        accuracies = [run[f"test_accuracy_{which}"] for run in runs]
        assert getattr(summary, f"test_accuracy_{which}_mean") == statistics.mean(accuracies)
        assert getattr(summary, f"test_accuracy_{which}_std") == statistics.stdev(accuracies)
    assert read_json(tmp_path / "runs" / "result.json") == summary.record()

    with pytest.raises(
        ValueError, match=r"holds a run for each seed; name one of .*seed-3, .*seed-5$"
    ):
        evaluate(tmp_path / "runs", device="cpu")
    with pytest.raises(ValueError, match="already holds a run"):
        retrain_seeds(TWO_NODES, short, tmp_path / "runs", [7, 3])
    assert not (tmp_path / "runs" / "seed-7" / "config.json").exists()

    more = retrain_seeds(TWO_NODES, short, tmp_path / "runs", [3, 5, 7], resume=True)
    assert more.runs[:2] == summary.runs
    assert len(more.runs) == 3


def test_the_progress_is_over_all_seeds(config, tmp_path, monkeypatch, capsys):
    """Of those that are left: the first has ended, the second has two of its three epochs."""
    retrain(TWO_NODES, replace(config, seed=3), tmp_path / "seed-3")
    second = replace(config, seed=5)
    with interrupted_in(3, loop), pytest.raises(KeyboardInterrupt):
        retrain(TWO_NODES, second, tmp_path / "seed-5")
    seen = []

    class Watched(epochs.Progress):
        def __init__(self, *arguments):
            seen.append(arguments)
            super().__init__(*arguments)

    monkeypatch.setattr(epochs, "Progress", Watched)
    capsys.readouterr()
    retrain_seeds(TWO_NODES, config, tmp_path, [3, 5, 7], resume=True)
    steps = 64 // 16
    assert seen == [
        ("retrain", 3, 2, steps, 0, 3),
        ("retrain", 3, 0, steps, 3, 0),
    ]
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "seed 5, epoch 3/3",
        *(f"seed 7, epoch {epoch}/3" for epoch in (1, 2, 3)),
    ]
    assert all(line.endswith(" left") for line in lines)


def test_one_seed_is_a_run_of_its_own(finished, config, tmp_path):
    result = retrain_seeds(TWO_NODES, replace(config, seed=99), tmp_path, [0])
    folder, whole = finished
    assert replace(result, folder=folder, **measured(whole)) == whole
    assert (tmp_path / "checkpoint.pt").exists()
    with pytest.raises(ValueError, match="already holds the run of one seed"):
        retrain_seeds(TWO_NODES, config, tmp_path, [0, 1])


def test_the_seeds_of_a_folder_are_all_that_were_asked_for(finished, config, tmp_path, monkeypatch):
    assert seeds_of(finished[0], RetrainConfig) == [0]
    retrained = []

    def interrupted(genotype, data, config, folder, resume, other_epochs):
        if retrained:
            raise KeyboardInterrupt
        retrained.append(retrain(genotype, config, folder, resume))
        return retrained[0]

    folder = tmp_path / "runs"
    with monkeypatch.context() as patch:
        patch.setattr(seeds_module, "retrain_on", interrupted)
        with pytest.raises(KeyboardInterrupt):
            retrain_seeds(TWO_NODES, replace(config, epochs=1), folder, [7, 3, 10])
    assert seeds_of(folder, RetrainConfig) == [7, 3, 10]
    (folder / "seeds.json").unlink()  # as an earlier version left it: those that were begun
    assert seeds_of(folder, RetrainConfig) == [7]
    for damaged in ("[1, ", '{"seeds": [1]}', "[true]"):
        (folder / "seeds.json").write_text(damaged)
        with pytest.raises(ValueError, match=r"seeds\.json: damaged"):
            seeds_of(folder, RetrainConfig)
    with pytest.raises(FileNotFoundError, match="not the folder of a run"):
        seeds_of(tmp_path, RetrainConfig)


def test_two_commands_do_not_train_seeds_in_one_folder(config, tmp_path):
    with sole_run(tmp_path), pytest.raises(ValueError, match="another run is at work"):
        retrain_seeds(TWO_NODES, config, tmp_path, [0, 1])


@pytest.mark.parametrize("seeds", [[], [1, 1], [-1], ["1"]])
def test_seeds_that_make_no_sense(config, tmp_path, seeds):
    with pytest.raises(ValueError, match="seeds: expected "):
        retrain_seeds(TWO_NODES, config, tmp_path, seeds)


def test_no_seed_to_resume(config, tmp_path):
    with pytest.raises(FileNotFoundError, match="no run of these seeds to resume"):
        retrain_seeds(TWO_NODES, config, tmp_path / "absent", [0, 1], resume=True)
