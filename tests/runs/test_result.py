from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from adarts_ext.files import read_json
from adarts_ext.genotype import ADARTS_V1
from adarts_ext.retrain import RetrainResult, SeedsResult
from adarts_ext.runs.result import RunResult
from adarts_ext.search import SearchResult


def make_search(folder):
    return SearchResult(
        folder=folder,
        genotype=ADARTS_V1,
        dataset="digits",
        seed=3,
        epochs=2,
        parameters=100,
        validation_loss=0.5,
        validation_accuracy=0.75,
        peak_memory_bytes=1 << 20,
        seconds=6.5,
    )


def make_retrain(folder, seed=3, last=0.5):
    return RetrainResult(
        folder=folder,
        genotype=ADARTS_V1,
        dataset="digits",
        seed=seed,
        epochs=2,
        parameters=100,
        parameters_with_auxiliary=120,
        macs=2500,
        flops=5000,
        test_accuracy_last=last,
        test_accuracy_best=0.75,
        best_epoch=1,
        seconds=6.5,
    )


def make_seeds(folder):
    return SeedsResult.of([make_retrain(folder, 1, 0.5), make_retrain(folder, 2, 1.0)], folder)


@pytest.mark.parametrize("make", [make_search, make_retrain, make_seeds])
def test_results_of_all_kinds_are_alike(make, tmp_path):
    result = make(tmp_path)
    assert isinstance(result, RunResult)
    assert (result.folder, result.genotype, result.dataset) == (tmp_path, ADARTS_V1, "digits")
    assert (result.epochs, result.parameters) == (2, 100)
    assert result.seconds > 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.epochs = 3
    result.save()
    written = read_json(tmp_path / "result.json")
    assert written == result.record()
    assert list(written) == list(result.record())


def test_the_file_of_a_search_keeps_its_entries_and_their_order():
    record = make_search(Path()).record()
    assert list(record.items()) == [
        ("kind", "search"),
        ("dataset", "digits"),
        ("seed", 3),
        ("epochs", 2),
        ("parameters", 100),
        ("validation_loss", 0.5),
        ("validation_accuracy", 0.75),
        ("peak_memory_bytes", 1 << 20),
        ("seconds", 6.5),
    ]


def test_the_file_of_a_training_keeps_its_entries_and_their_order():
    record = make_retrain(Path()).record()
    assert list(record.items()) == [
        ("kind", "retrain"),
        ("dataset", "digits"),
        ("seed", 3),
        ("epochs", 2),
        ("parameters", 100),
        ("parameters_with_auxiliary", 120),
        ("macs", 2500),
        ("flops", 5000),
        ("test_accuracy_last", 0.5),
        ("test_accuracy_best", 0.75),
        ("best_epoch", 1),
        ("seconds", 6.5),
    ]


def test_the_file_of_several_seeds_keeps_its_entries_and_their_order():
    record = make_seeds(Path()).record()
    runs = record.pop("runs")
    assert [run["seed"] for run in runs] == [1, 2]
    assert list(record.items()) == [
        ("kind", "retrain"),
        ("dataset", "digits"),
        ("seeds", [1, 2]),
        ("epochs", 2),
        ("parameters", 100),
        ("macs", 2500),
        ("flops", 5000),
        ("test_accuracy_last_mean", 0.75),
        ("test_accuracy_last_std", pytest.approx(0.5 / 2**0.5)),
        ("test_accuracy_best_mean", 0.75),
        ("test_accuracy_best_std", 0.0),
        ("seconds", 13.0),
    ]
