from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from adarts_ext.files import read_json
from adarts_ext.genotype import ADARTS_V1, ADARTS_V2
from adarts_ext.retrain import RetrainResult, SeedsResult
from adarts_ext.runs.clock import PARTS, sum_up_times
from adarts_ext.runs.result import Result
from adarts_ext.search import SearchResult, SweepResult

MEASURED = {
    "seconds": 6.5,
    "time": {part: 0.5 * place for place, part in enumerate(PARTS)},
    "images_per_second": 60.0,
    "peak_memory_bytes": 1 << 20,
}


def make_search(folder, seed=3, genotype=ADARTS_V1, accuracy=0.75):
    return SearchResult(
        folder=folder,
        genotype=genotype,
        dataset="digits",
        seed=seed,
        epochs=2,
        genotype_epoch=2,
        collapse=[],
        stopped=None,
        parameters=100,
        validation_loss=0.5,
        validation_accuracy=accuracy,
        **MEASURED,
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
        **MEASURED,
    )


def make_sweep(folder):
    runs = [make_search(folder, 1, ADARTS_V1, 0.5), make_search(folder, 2, ADARTS_V2, 1.0)]
    return SweepResult.of(runs, folder)


def make_seeds(folder):
    return SeedsResult.of([make_retrain(folder, 1, 0.5), make_retrain(folder, 2, 1.0)], folder)


@pytest.mark.parametrize("make", [make_search, make_retrain, make_seeds, make_sweep])
def test_results_of_all_kinds_are_alike(make, tmp_path):
    result = make(tmp_path)
    assert isinstance(result, Result)
    assert (result.folder, result.dataset) == (tmp_path, "digits")
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
        ("genotype_epoch", 2),
        ("collapse", []),
        ("stopped", None),
        ("parameters", 100),
        ("validation_loss", 0.5),
        ("validation_accuracy", 0.75),
        *MEASURED.items(),
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
        *MEASURED.items(),
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
        ("time", {part: 2 * seconds for part, seconds in MEASURED["time"].items()}),
        ("images_per_second", 60.0),
        ("peak_memory_bytes", 1 << 20),
    ]


def test_the_file_of_a_sweep_keeps_its_entries_and_their_order():
    record = make_sweep(Path()).record()
    runs = record.pop("runs")
    assert [run["seed"] for run in runs] == [1, 2]
    assert list(record.items()) == [
        ("kind", "search"),
        ("dataset", "digits"),
        ("seeds", [1, 2]),
        ("epochs", 2),
        ("parameters", 100),
        ("validation_accuracy_mean", 0.75),
        ("validation_accuracy_std", pytest.approx(0.5 / 2**0.5)),
        ("agreement", 3 / 16),
        ("skip_connections", [4, 2]),
        ("poolings", [4, 5]),
        ("seconds", 13.0),
        ("time", {part: 2 * seconds for part, seconds in MEASURED["time"].items()}),
        ("images_per_second", 60.0),
        ("peak_memory_bytes", 1 << 20),
    ]


def test_epochs_of_a_version_that_measured_less_are_summed_up():
    assert sum_up_times([{"seconds": 2.0}, MEASURED]) == {
        "seconds": 8.5,
        "time": MEASURED["time"],
        "images_per_second": None,
        "peak_memory_bytes": None,
    }
