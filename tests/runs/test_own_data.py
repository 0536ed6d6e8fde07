"""Searching, retraining and testing on data that are given in Python."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from run_state import interrupted_in
from small_runs import TWO_NODES
from torch.utils.data import TensorDataset

from adarts_ext.cli import main
from adarts_ext.data import ImageDataset
from adarts_ext.files import read_json
from adarts_ext.retrain import RetrainConfig, evaluate, retrain, retrain_seeds
from adarts_ext.runs.checkpoint import load_checkpoint
from adarts_ext.runs.data import run_data
from adarts_ext.search import SearchConfig, loop, search

CONFIG = SearchConfig(
    device="cpu",
    init_channels=4,
    layers=3,
    steps=2,
    proportion=2,
    batch_size=8,
    epochs=2,
    warmup_epochs=0,
)
RETRAIN = RetrainConfig(device="cpu", init_channels=4, layers=3, batch_size=8, epochs=1)


def pairs(count=32, size=16, classes=2):
    generator = torch.Generator().manual_seed(count)
    images = torch.randint(0, 256, (count, 1, size, size), generator=generator).to(torch.uint8)
    return TensorDataset(images, torch.arange(count) % classes)


def images_of(train, test, name="mine") -> ImageDataset:
    return ImageDataset(name, *train.tensors, *test.tensors, ("0", "1"), flip=False)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "search"
    return folder, search(CONFIG, folder, dataset=pairs())


@pytest.fixture(scope="module")
def retrained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "retrain"
    return folder, retrain(TWO_NODES, RETRAIN, folder, dataset=(pairs(), pairs(6)))


def test_a_run_records_its_data(searched):
    folder, result = searched
    record = read_json(folder / "dataset.json")
    assert (record["name"], record["class_names"]) == ("TensorDataset", ["0", "1"])
    assert (record["train_images"], record["test_images"]) == (32, 0)
    assert read_json(folder / "config.json")["dataset"] == "python"
    assert result.dataset == "TensorDataset"


def test_images_in_memory_give_the_same_search_as_the_pairs(searched, tmp_path):
    dataset = images_of(pairs(), pairs(6))
    search(CONFIG, tmp_path, dataset=dataset)
    ours = load_checkpoint(tmp_path / "checkpoint.pt")["network"]
    theirs = load_checkpoint(searched[0] / "checkpoint.pt")["network"]
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_search_goes_on_with_the_same_data_only(searched, tmp_path, capsys):
    folder = tmp_path / "run"
    with interrupted_in(2, loop), pytest.raises(KeyboardInterrupt):
        search(CONFIG, folder, dataset=pairs())

    with pytest.raises(ValueError, match="begun with other data: it had 32 train images"):
        search(CONFIG, folder, resume=True, dataset=pairs(34))
    with pytest.raises(ValueError, match="begun with dataset python, cannot go on with digits"):
        search(CONFIG, folder, resume=True)
    begun = SearchConfig.load(folder)
    with pytest.raises(ValueError, match="were given in Python; give them there again"):
        search(begun, folder, resume=True)

    capsys.readouterr()
    assert main(["search", "--resume", "--out", str(folder)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if not line.startswith("run folder: ")] == [
        "adarts search: error: the data of the run were given in Python; give them there again, as "
        "dataset=..."
    ]
    resumed = search(begun, folder, resume=True, dataset=pairs())
    assert resumed.genotype == searched[1].genotype
    assert resumed.validation_loss == searched[1].validation_loss


def test_the_command_retrains_such_a_search_on_named_data_only(searched, tmp_path, capsys):
    folder, _ = searched
    out = tmp_path / "run"
    assert main(["retrain", str(folder), "--out", str(out)]) == 1
    expected = "its data were given in Python; retrain there, or name data with --dataset"
    assert capsys.readouterr().err == f"adarts retrain: error: {folder}: {expected}\n"
    arguments = ["--dataset", "folder", "--data-dir", "absent", "--out", str(out)]
    assert main(["retrain", str(folder), *arguments]) == 1
    assert "absent/train: no such folder" in capsys.readouterr().err
    assert not out.exists()


def test_retraining_and_testing(retrained, capsys):
    folder, result = retrained
    record = read_json(folder / "dataset.json")
    assert (record["train_images"], record["test_images"]) == (32, 6)
    with pytest.raises(ValueError, match="were given in Python; give them there again"):
        evaluate(folder, device="cpu")
    assert main(["evaluate", str(folder), "--device", "cpu"]) == 1
    assert "given in Python" in capsys.readouterr().err
    for dataset in ((pairs(), pairs(6)), images_of(pairs(), pairs(6))):
        tested = evaluate(folder, device="cpu", dataset=dataset)
        assert tested["test_accuracy"] == result.test_accuracy_last
        assert tested["test_images"] == 6
    with pytest.raises(ValueError, match="neither data_dir nor download"):
        evaluate(folder, data_dir="here", dataset=(pairs(), pairs(6)))


def test_retraining_goes_on_and_from_several_seeds(retrained, tmp_path):
    folder, result = retrained
    data = (pairs(), pairs(6))
    assert retrain(TWO_NODES, RETRAIN, folder, resume=True, dataset=data) == result
    summary = retrain_seeds(TWO_NODES, RETRAIN, tmp_path / "runs", [0, 1], dataset=data)
    assert summary.runs[0].test_accuracy_last == result.test_accuracy_last
    again = retrain_seeds(TWO_NODES, RETRAIN, tmp_path / "runs", [0, 1], True, dataset=data)
    assert again.runs == summary.runs


@pytest.mark.parametrize(
    "changes",
    [{"dataset": "cifar10"}, {"data_dir": "here"}, {"download": True}, {"image_size": 32}],
)
def test_options_that_name_other_data_are_refused(changes, tmp_path):
    (name,) = changes
    with pytest.raises(
        ValueError, match=f"{name}: (the data are given, so expected the|expected no)"
    ):
        search(dataclasses.replace(CONFIG, **changes), tmp_path / "run", dataset=pairs())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("dataset", "error", "message"),
    [
        ("digits", ValueError, r"dataset: train\[0\]: expected a pair"),
        (3, TypeError, "dataset: train: expected a map-style data set"),
        (pairs(size=18), ValueError, "dataset: height and width .* multiples of 4 .* got 18x18"),
        (pairs(size=12), ValueError, "dataset: height and width .* at least 16, got 12x12"),
        (pairs(classes=1), ValueError, "dataset: expected at least two classes, got one, '0'"),
        (
            [(image, 2 * label) for image, label in pairs()],
            ValueError,
            "dataset: the class '1' has no training image",
        ),
        (pairs(14), ValueError, r"batch_size: .* 7 and 7 \(train_portion 0.5 of the 14 .*, got 8"),
    ],
)
def test_data_that_cannot_be_searched_on_leave_no_folder(dataset, error, message, tmp_path):
    with pytest.raises(error, match=message) as caught:
        search(CONFIG, tmp_path / "run", dataset=dataset)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_retraining_needs_test_images(tmp_path):
    with pytest.raises(ValueError, match=r"dataset: expected images to test on too"):
        retrain(TWO_NODES, RETRAIN, tmp_path / "run", dataset=pairs())
    assert not (tmp_path / "run").exists()


def test_a_part_of_the_training_images_is_the_same_for_every_seed():
    given = images_of(pairs(), pairs(6))
    parts = [
        run_data(dataclasses.replace(CONFIG, train_images=10, seed=seed), given) for seed in (0, 1)
    ]
    assert torch.equal(parts[0].train_images, parts[1].train_images)
    assert torch.bincount(parts[0].train_labels).tolist() == [5, 5]
    assert torch.equal(parts[0].test_images, given.test_images)
    whole = {image.numpy().tobytes() for image in given.train_images}
    assert all(image.numpy().tobytes() in whole for image in parts[0].train_images)
    assert run_data(dataclasses.replace(CONFIG, train_images=32), given) is given


def test_more_training_images_than_there_are_are_refused():
    with pytest.raises(ValueError, match="expected at most the 32 of TensorDataset, got 33"):
        run_data(dataclasses.replace(CONFIG, train_images=33), pairs())


def test_a_run_on_a_part_goes_on_with_that_part(tmp_path):
    part = dataclasses.replace(CONFIG, train_images=24)
    with interrupted_in(2, loop), pytest.raises(KeyboardInterrupt):
        search(part, tmp_path, dataset=pairs())
    with pytest.raises(ValueError, match="begun with train_images 24, cannot go on with None"):
        search(CONFIG, tmp_path, resume=True, dataset=pairs())
    search(part, tmp_path, resume=True, dataset=pairs())
    assert read_json(tmp_path / "dataset.json")["train_images"] == 24
