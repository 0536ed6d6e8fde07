from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from image_folder import write_images
from run_state import assert_same_run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from adarts_ext.data import load_dataset
from adarts_ext.files import read_json
from adarts_ext.genotype import PRIMITIVES, Genotype
from adarts_ext.nn import SearchNetwork
from adarts_ext.runs.checkpoint import load_checkpoint
from adarts_ext.search import PRESETS, SearchConfig, build, loop, passes, search
from adarts_ext.search.architecture import describe_architecture

EDGES = 5  # of a cell with two nodes
SMALL = {
    "dataset": "folder",
    "device": "cpu",
    "init_channels": 4,
    "layers": 3,
    "steps": 2,
    "batch_size": 8,
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """An image folder of 64 + 4 small grey images in two classes: dark and light noise."""
    return write_images(tmp_path_factory.mktemp("images"), 32, 2)


@pytest.fixture(scope="module")
def config(images):
    return SearchConfig(
        data_dir=str(images),
        proportion=2,
        epochs=3,
        warmup_epochs=1,
        learning_rate=0.1,
        arch_learning_rate=0.05,
        **SMALL,
    )


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    """The folder of a search that went through without a break, and its result."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return folder, search(config, folder)


def interrupt_in(epoch, monkeypatch):
    """Let the search break off in the middle of an epoch, with all states already moved."""
    whole_epoch = loop.train_epoch

    def breaking_epoch(state, config, training, *rest):
        whole_epoch(state, config, training, *rest)
        if training.epoch == epoch:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "train_epoch", breaking_epoch)


def test_the_run_folder_holds_all_that_is_promised(finished, config):
    folder, result = finished
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "config.json",
        "dataset.json",
        "checkpoint.pt",
        "checkpoint.previous.pt",
        "history.json",
        "machine.json",
        "result.json",
        "genotype.json",
        "genotypes",
        "tensorboard",
    }
    assert read_json(folder / "config.json") == {"kind": "search", **dataclasses.asdict(config)}
    assert Genotype.load(folder / "genotype.json") == result.genotype
    epochs = sorted(path.name for path in (folder / "genotypes").iterdir())
    assert epochs == ["epoch-0001.json", "epoch-0002.json", "epoch-0003.json"]
    assert Genotype.load(folder / "genotypes" / "epoch-0003.json") == result.genotype
    assert read_json(folder / "result.json") == result.record()
    assert result.folder == folder
    last = read_json(folder / "history.json")[-1]
    assert result.record()["kind"] == "search"
    assert result.validation_accuracy == last["validation_accuracy"]
    assert result.epochs == 3
    history = read_json(folder / "history.json")
    assert result.seconds == sum(entry["seconds"] for entry in history)
    assert sum(result.time.values()) == pytest.approx(result.seconds)
    assert result.peak_memory_bytes == max(entry["peak_memory_bytes"] for entry in history)
    network = SearchNetwork(4, 2, 3, 2, in_channels=1, steps=2)
    assert result.parameters == sum(weight.numel() for weight in network.parameters())


def test_the_history_says_how_every_epoch_went(finished):
    history = read_json(finished[0] / "history.json")
    assert [entry["epoch"] for entry in history] == [1, 2, 3]
    rates = [entry["learning_rate"] for entry in history]
    assert rates == pytest.approx([0.1, 0.075, 0.025])  # half a cosine from 0.1 to 0
    for entry in history:
        assert 0 <= entry["train_accuracy"] <= 1
        assert 0 <= entry["validation_accuracy"] <= 1
        assert entry["train_loss"] > 0
        assert entry["peak_memory_bytes"] > 1 << 20
        assert 0 < entry["step_seconds"] < entry["seconds"]
        assert entry["images_per_second"] == pytest.approx(8 / entry["step_seconds"])
        assert sum(entry["time"].values()) == pytest.approx(entry["seconds"])
        assert (entry["time"]["architecture step"] > 0) == (entry["epoch"] > 1)
        for part in ("data", "weight step", "evaluation", "other"):
            assert entry["time"][part] > 0
        assert (entry["time"]["saving"] > 0) == (entry["epoch"] > 1)  # the save before
        for cell in ("normal", "reduce"):
            assert np.shape(entry[f"alphas_{cell}"]) == (EDGES, len(PRIMITIVES))
            assert np.sum(entry[f"alphas_{cell}"], axis=1) == pytest.approx(np.ones(EDGES))
            betas = entry[f"betas_{cell}"]
            assert [sum(betas[:2]), sum(betas[2:])] == pytest.approx([1, 1])
            assert 0 < entry[f"alphas_entropy_{cell}"] <= np.log(8) + 1e-12
            assert 0 < entry[f"betas_entropy_{cell}"] <= (np.log(2) + np.log(3)) / 2 + 1e-12


def test_tensorboard_holds_the_curves(finished):
    folder, _ = finished
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert tags >= {
        "loss/train",
        "loss/validation",
        "accuracy/train",
        "accuracy/validation",
        "alphas_entropy/normal",
        "betas_entropy/reduce",
        "skip_connections/normal",
        "run/step_seconds",
        "run/peak_memory_bytes",
        "alphas_normal/node3_node2/sep_conv_3x3",
        "betas_reduce/node2_input0",
    }
    history = read_json(folder / "history.json")
    curve = events.Scalars("accuracy/validation")
    assert [point.step for point in curve] == [1, 2, 3]
    assert [point.value for point in curve] == pytest.approx(
        [entry["validation_accuracy"] for entry in history]
    )


def test_alphas_and_betas_stay_put_during_the_warmup_and_move_after_it(finished, config):
    first, second, third = read_json(finished[0] / "history.json")
    torch.manual_seed(config.seed)
    untouched = describe_architecture(SearchNetwork(4, 2, 3, 2, in_channels=1, steps=2))
    for name in ("alphas_normal", "alphas_reduce", "betas_normal", "betas_reduce"):
        assert first[name] == untouched[name]
        assert not np.allclose(first[name], second[name], atol=1e-3)
        assert not np.allclose(second[name], third[name], atol=1e-3)
    assert first["arch_loss"] is None
    assert second["arch_loss"] > 0


def test_the_search_learns(finished):
    history = read_json(finished[0] / "history.json")
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert history[-1]["train_accuracy"] > 0.8  # dark and light images are easily told apart


@pytest.mark.slow
@pytest.mark.parametrize("broken_epoch", [2, 3])
def test_a_resumed_search_ends_with_the_very_same_bits(
    broken_epoch, finished, config, tmp_path, monkeypatch
):
    whole, result = finished
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_in(broken_epoch, patch)
        with pytest.raises(KeyboardInterrupt):
            search(config, folder)
    assert len(load_checkpoint(folder / "checkpoint.pt", "search")["history"]) == broken_epoch - 1
    assert not (folder / "result.json").exists()
    torch.manual_seed(99)  # nothing may hang on where the generator stood
    assert search(config, folder, resume=True).genotype == result.genotype
    assert_same_run(folder, whole)


def test_resuming_a_finished_search_changes_nothing(finished, config, tmp_path):
    whole, result = finished
    folder = shutil.copytree(whole, tmp_path / "run")
    assert search(config, folder, resume=True) == dataclasses.replace(result, folder=folder)
    for name in ("history.json", "result.json", "genotype.json", "checkpoint.pt"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


def test_a_search_does_not_overwrite_another(finished, config):
    with pytest.raises(ValueError, match="already holds a run"):
        search(config, finished[0])


def test_resuming_needs_a_checkpoint_and_the_same_options(finished, config, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint\.pt to resume from"):
        search(config, tmp_path, resume=True)
    with pytest.raises(ValueError, match="begun with seed 0, cannot go on with 1"):
        search(dataclasses.replace(config, seed=1), finished[0], resume=True)


def damage(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def test_a_damaged_checkpoint_gives_way_to_the_one_before(finished, config, tmp_path):
    folder = shutil.copytree(finished[0], tmp_path / "run")
    damage(folder / "checkpoint.pt")
    with pytest.warns(UserWarning, match="taking the one before it") as warned:
        search(config, folder, resume=True)
    (line,) = [str(warning.message) for warning in warned]
    assert line.startswith(f"{folder / 'checkpoint.pt'}: damaged, or not a checkpoint")
    assert line.endswith("checkpoint.previous.pt")
    assert_same_run(folder, finished[0])
    load_checkpoint(folder / "checkpoint.previous.pt")  # no longer the damaged one


def test_damaged_checkpoints_are_one_clear_error(finished, config, tmp_path):
    folder = shutil.copytree(finished[0], tmp_path / "run")
    names = ("checkpoint.pt", "checkpoint.previous.pt")
    for name in names:
        damage(folder / name)
    with pytest.raises(ValueError, match="damaged") as caught:
        search(config, folder, resume=True)
    assert all(f"{folder / name}: damaged" in str(caught.value) for name in names)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_another_network_is_one_clear_error(finished, config, tmp_path):
    folder = shutil.copytree(finished[0], tmp_path / "run")
    other = dataclasses.replace(config, init_channels=8)
    (folder / "config.json").write_text(json.dumps({"kind": "search", **dataclasses.asdict(other)}))
    with pytest.raises(ValueError, match=r"checkpoint\.pt: does not fit the options"):
        search(other, folder, resume=True)


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        ("pc-darts", {}),
        ("darts", {}),
        ("darts", {"unrolled": True, "edge_normalization": True}),
        ("adarts", {"selection": "random", "backend": "reference", "memory": "recompute"}),
    ],
)
def test_the_other_methods_search_too(preset, changes, images, tmp_path):
    config = dataclasses.replace(
        PRESETS[preset],
        data_dir=str(images),
        epochs=1,
        warmup_epochs=0,
        **(SMALL | {"batch_size": 16} | changes),
    )
    folder = tmp_path / "run"
    result = search(config, folder)
    assert len(result.genotype.normal) == 4
    (entry,) = read_json(folder / "history.json")
    assert (entry["betas_normal"] is None) == (not config.edge_normalization)
    assert entry["arch_loss"] > 0


def test_a_diverging_search_stops_and_keeps_its_checkpoint(config, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    losses = []
    whole_step = passes.weight_step

    def diverging_step(*arguments):
        loss, logits = whole_step(*arguments)
        losses.append(loss * float("nan") if len(losses) == 5 else loss)
        return losses[-1], logits

    monkeypatch.setattr(passes, "weight_step", diverging_step)
    with pytest.raises(ValueError, match=r"diverged in epoch 2, step 2: .* not finite") as caught:
        search(config, folder)
    assert "\n" not in str(caught.value)
    assert len(load_checkpoint(folder / "checkpoint.pt", "search")["history"]) == 1
    assert [entry["epoch"] for entry in read_json(folder / "history.json")] == [1]


def test_without_a_terminal_every_epoch_is_one_line(config, tmp_path, capfd):
    search(dataclasses.replace(config, epochs=2), tmp_path / "run")
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2
    for epoch, line in enumerate(lines, 1):
        assert line.startswith(f"seed 0, epoch {epoch}/2: train loss ")
        assert "validation accuracy" in line


def test_a_batch_larger_than_a_half_is_one_clear_error(config, tmp_path):
    message = r"batch_size: .* 32 and 32 \(train_portion 0.5 of the 64 training .*\), got 33"
    with pytest.raises(ValueError, match=message):
        search(dataclasses.replace(config, batch_size=33), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_halves_share_no_image_and_only_training_batches_are_augmented(config, monkeypatch):
    dataset = load_dataset("folder", config.data_dir)
    loaders = build.make_loaders(config, dataset, torch.device("cpu"))
    train, validation, evaluation = loaders

    def images_of(loader):
        return {image.numpy().tobytes() for image in loader.images}

    assert images_of(train).isdisjoint(images_of(validation))
    assert len(images_of(train) | images_of(validation)) == 64
    assert images_of(validation) == images_of(evaluation)
    assert [loader.augment for loader in loaders] == [True, True, False]
    assert sum(len(labels) for _, labels in evaluation) == 32
