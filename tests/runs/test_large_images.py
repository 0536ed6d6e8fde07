"""Runs with the networks for ImageNet, on an image folder whose images are of several sizes."""

from __future__ import annotations

import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from run_state import assert_same_run
from small_runs import TWO_NODES, small_retrain, small_search

from adarts_ext.cli import main
from adarts_ext.cli.retrain import dataset_options
from adarts_ext.data import load_dataset
from adarts_ext.files import read_json, write_json
from adarts_ext.retrain import RetrainConfig, evaluate, retrain
from adarts_ext.retrain import loop as retrain_loop
from adarts_ext.retrain.build import make_train_loader
from adarts_ext.retrain.config import RECIPES
from adarts_ext.runs.checkpoint import load_checkpoint
from adarts_ext.search import SearchConfig, passes, search

LARGE = {"image_size": 64, "stem": "imagenet", "augmentation": "imagenet"}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for part, count in (("train", 16), ("test", 4)):
        for name, darkest in (("dark", 0), ("light", 100)):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                height, width = generator.integers(60, 100, 2)
                shape = (height, width, 3)
                pixels = generator.integers(darkest, darkest + 156, shape, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{number}.png")
    return folder


def interrupt_at(call, module, name, patch):
    """Have a run asked to stop within a step."""
    calls, step = [], getattr(module, name)

    def interrupted(*arguments):
        calls.append(None)
        if len(calls) == call:
            signal.raise_signal(signal.SIGINT)
        return step(*arguments)

    patch.setattr(module, name, interrupted)


def under_way(folder):
    state = load_checkpoint(folder / "checkpoint.pt")
    return len(state["history"]), state["under_way"]["step"]


def test_a_search_stopped_within_an_epoch_goes_on_bit_for_bit(images, tmp_path, monkeypatch):
    config = small_search(images, **LARGE, steps=1, workers=1)
    search(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_at(3, passes, "weight_step", patch)
        with pytest.raises(KeyboardInterrupt):
            search(replace(config, workers=0), tmp_path / "broken")
    assert under_way(tmp_path / "broken") == (1, 1)
    torch.manual_seed(99)
    search(config, tmp_path / "broken", resume=True)
    assert_same_run(tmp_path / "broken", tmp_path / "whole")


def test_a_training_stopped_within_an_epoch_goes_on_bit_for_bit(images, tmp_path, monkeypatch):
    schedule = {"schedule": "linear", "lr_warmup_epochs": 1, "label_smoothing": 0.1}
    config = small_retrain(images, **LARGE, **schedule, workers=0)
    result = retrain(TWO_NODES, config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_at(6, retrain_loop, "train_step", patch)
        with pytest.raises(KeyboardInterrupt):
            retrain(TWO_NODES, config, tmp_path / "broken")
    assert under_way(tmp_path / "broken") == (1, 2)
    torch.manual_seed(99)
    retrain(TWO_NODES, replace(config, workers=1), tmp_path / "broken", resume=True)
    assert_same_run(tmp_path / "broken", tmp_path / "whole")
    assert evaluate(tmp_path / "whole", device="cpu")["test_accuracy"] == result.test_accuracy_last


def test_only_trainings_change_colours_and_none_cuts_out_unless_asked_to(images):
    config = small_retrain(images, **LARGE)
    data = load_dataset("folder", str(images), image_size=64, augmentation="imagenet")
    for changes, cutout in (({}, 0), ({"cutout": 16}, 16)):
        loader = make_train_loader(replace(config, **changes), data, torch.device("cpu"))
        assert (loader.colours, loader.cutout) == (True, cutout)
    plain = load_dataset("folder", str(images), image_size=64)
    loader = make_train_loader(config, plain, torch.device("cpu"))
    assert (loader.colours, loader.cutout) == (False, 32)


def test_the_learning_rate_follows_schedule_and_warm_up():
    config = RetrainConfig(
        epochs=8, learning_rate=0.5, schedule="linear", learning_rate_min=0.1, lr_warmup_epochs=2
    )
    rates = [retrain_loop.epoch_learning_rate(config, epoch) for epoch in range(1, 9)]
    assert rates == pytest.approx([0.25, 0.45, 0.4, 0.35, 0.3, 0.25, 0.2, 0.15])
    cosine = RetrainConfig(epochs=4, learning_rate=1.0)
    rates = [retrain_loop.epoch_learning_rate(cosine, epoch) for epoch in (1, 3)]
    assert rates == pytest.approx([1.0, 0.5])


def test_the_recipe_is_that_of_pc_darts():
    recipe = RECIPES["imagenet"]
    assert (recipe.init_channels, recipe.layers, recipe.epochs) == (48, 14, 250)
    assert (recipe.batch_size, recipe.learning_rate, recipe.learning_rate_min) == (1024, 0.5, 0)
    assert (recipe.schedule, recipe.lr_warmup_epochs) == ("linear", 5)
    assert (recipe.momentum, recipe.weight_decay, recipe.grad_clip) == (0.9, 3e-5, 5)
    assert (recipe.label_smoothing, recipe.drop_path_prob, recipe.cutout) == (0.1, 0, None)
    assert (recipe.auxiliary, recipe.auxiliary_weight) == (True, 0.4)
    assert (recipe.dataset, recipe.image_size) == ("folder", 224)
    assert (recipe.stem, recipe.augmentation) == ("imagenet", "imagenet")


def test_a_training_has_the_stem_and_the_augmentation_of_its_search(images, tmp_path):
    options = small_search(images, **LARGE)
    options.save(tmp_path)
    for recipe in ("published", "darts"):
        found = dataset_options(tmp_path, None, RECIPES[recipe])
        expected = replace(RECIPES[recipe], dataset="folder", data_dir=str(images), **LARGE)
        assert found == expected
    # What a recipe says counts before it, and where it names the data set, data of another do not.
    found = dataset_options(tmp_path, None, RECIPES["imagenet"])
    assert found == replace(RECIPES["imagenet"], data_dir=str(images))
    SearchConfig(dataset="cifar10", data_dir="elsewhere").save(tmp_path)
    assert dataset_options(tmp_path, None, RECIPES["imagenet"]) == RECIPES["imagenet"]
    assert dataset_options(tmp_path, None, RECIPES["darts"]).dataset == "cifar10"


def test_runs_of_earlier_versions_have_small_images(images, tmp_path):
    small_search(images).save(tmp_path)
    record = read_json(tmp_path / "config.json")
    for name in ("stem", "augmentation"):
        del record[name]
    write_json(tmp_path / "config.json", record)
    assert SearchConfig.load(tmp_path) == small_search(images)
    assert dataset_options(tmp_path, None, RECIPES["published"]).stem == "cifar"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--augmentation", "imagenet"], "--augmentation: expected shift with digits, as imagenet"),
        (["--stem", "imagenet", "--image-size", "48"], "--image-size: expected a multiple of 32, "),
        (
            ["--augmentation", "imagenet", "--dataset", "folder"],
            "--image-size: expected a size, to which --augmentation imagenet crops, got none",
        ),
        (["--stem", "vgg"], "--stem: expected one of cifar, imagenet, got 'vgg'"),
        (["--schedule", "step"], "--schedule: expected one of cosine, linear, got 'step'"),
        (["--lr-warmup-epochs", "601"], "--lr-warmup-epochs: expected at least 0 and at most 600"),
    ],
)
def test_wrong_options_are_one_line(options, message, capsys):
    assert main(["retrain", "DARTS_V2", *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"adarts retrain: error: {message}")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--image-size", "32"], "multiple"),
        (["--init-channels", "5"], "--init-channels must be even with stem imagenet, got 5"),
    ],
)
def test_what_the_network_does_not_take_is_refused_before_the_folder(
    options, message, images, tmp_path, capsys
):
    command = ["retrain", "DARTS_V2", "--recipe", "imagenet", "--data-dir", str(images)]
    command += ["--image-size", "64", "--batch-size", "8", "--device", "cpu", *options]
    assert main([*command, "--out", str(tmp_path / "run")]) > 0
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_images_as_they_are_must_fit_the_stem(tmp_path):
    for part in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            Image.new("RGB", (64, 48)).save(tmp_path / part / name / "0.png")
    config = small_retrain(tmp_path, stem="imagenet")
    with pytest.raises(ValueError, match="multiples of 32 and at least 64, got 48x64; image_size"):
        retrain(TWO_NODES, config, tmp_path / "run")
