from __future__ import annotations

import dataclasses
import json

import pytest

from adarts_ext.nn.selection import SELECTIONS
from adarts_ext.search import PRESETS, SearchConfig
from adarts_ext.strategies import STRATEGIES

DARTS = (64, 50, 0, 0.025, 0.001, 3e-4, 1, "all", False)
PUBLISHED = {
    "adarts": (64, 80, 15, 0.025, 0.0, 6e-4, 4, "attention", True),
    "pc-darts": (256, 50, 15, 0.1, 0.0, 6e-4, 4, "first", True),
    "darts": DARTS,
    "early-stop": DARTS,
    "darts-minus": DARTS,
    "fair-darts": (128, 50, 0, 0.005, 0.001, 3e-3, 1, "all", False),
    "sdarts-rs": DARTS,
    "sdarts-adv": DARTS,
    "gdas": (256, 250, 0, 0.025, 0.001, 3e-4, 1, "all", False),
    "drnas": (64, 50, 10, 0.1, 0.0, 6e-4, 6, "first", False),
    "drnas-kl": (64, 50, 10, 0.1, 0.0, 6e-4, 6, "first", False),
    "p-darts": (96, 75, 10, 0.025, 0.0, 6e-4, 1, "all", False),
    "beta-darts": DARTS,
    "lambda-darts": DARTS,
    "oles": DARTS,
}
OTHERWISE = {
    "fair-darts": {"arch_beta1": 0.9},
    "gdas": {"weight_decay": 5e-4},
    "p-darts": {"layers": 5},
    "drnas": {"init_channels": 36, "layers": 20},
    "drnas-kl": {"init_channels": 36, "layers": 20, "arch_weight_decay": 0.0},
    "early-stop": {"collapse_skips": 2, "hessian_every": 1, "stop_on_collapse": True},
}


def test_every_strategy_has_its_published_settings():
    assert PRESETS.keys() == PUBLISHED.keys() == STRATEGIES.keys()
    assert PRESETS["adarts"] == SearchConfig()


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_presets_are_the_published_settings(name):
    preset = PRESETS[name]
    assert preset.strategy == name
    assert PUBLISHED[name] == (
        preset.batch_size,
        preset.epochs,
        preset.warmup_epochs,
        preset.learning_rate,
        preset.learning_rate_min,
        preset.arch_learning_rate,
        preset.proportion,
        preset.selection,
        preset.edge_normalization,
    )
    common = {
        "momentum": 0.9,
        "weight_decay": 3e-4,
        "grad_clip": 5.0,
        "arch_beta1": 0.5,
        "arch_beta2": 0.999,
        "arch_weight_decay": 1e-3,
        "init_channels": 16,
        "layers": 8,
        "steps": 4,
        "train_portion": 0.5,
        "unrolled": False,
        "stop_on_collapse": False,
    }
    expected = common | OTHERWISE.get(name, {})
    assert expected == {option: getattr(preset, option) for option in expected}


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("selection", tuple(SELECTIONS)),
        ("backend", ("fused", "reference")),
        ("memory", ("store", "recompute")),
    ],
)
def test_the_choices_are_those_of_the_network(name, choices):
    for choice in choices:
        assert getattr(SearchConfig(**{name: choice}), name) == choice
    with pytest.raises(ValueError, match=f"{name}: expected one of {', '.join(choices)}, got ''"):
        SearchConfig(**{name: ""})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "imagenet"}, "dataset: expected one of digits, .*, got 'imagenet'"),
        ({"selection": "best"}, "selection: expected one of attention, .*, got 'best'"),
        ({"backend": "cuda"}, "backend: expected one of fused, reference, got 'cuda'"),
        ({"memory": "disk"}, "memory: expected one of store, recompute, got 'disk'"),
        ({"seed": -1}, "seed: expected at least 0"),
        ({"layers": 2}, "layers: expected at least 3, got 2"),
        ({"steps": 0}, "steps: expected at least 1, got 0"),
        ({"batch_size": 0}, "batch_size: expected at least 1, got 0"),
        ({"image_size": 0}, "image_size: expected a multiple of 4, at least 16, got 0"),
        ({"image_size": 18}, "image_size: expected a multiple of 4, at least 16, got 18"),
        ({"epochs": 20.5}, "epochs: expected a whole number, got 20.5"),
        ({"augment": 1}, "augment: expected true or false, got 1"),
        ({"momentum": "0.9"}, "momentum: expected a number, got '0.9'"),
        ({"device": None}, "device: expected a text, got None"),
        ({"data_dir": ""}, "data_dir: expected a folder, got ''"),
        ({"proportion": 3}, "proportion: expected a divisor of init_channels 16, got 3"),
        ({"init_channels": 1, "proportion": 1}, "init_channels: expected at least 2, got 1"),
        ({"learning_rate": 0.0}, "learning_rate: expected above 0, got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate: expected above 0, got nan"),
        ({"learning_rate_min": 0.1}, "learning_rate_min: .* at most 0.025, got 0.1"),
        ({"grad_clip": 0}, "grad_clip: expected above 0, got 0"),
        ({"arch_weight_decay": -1}, "arch_weight_decay: expected at least 0, got -1"),
        ({"momentum": 1.5}, "momentum: .* at most 1, got 1.5"),
        ({"arch_beta1": 1.0}, "arch_beta1: expected less than 1, got 1.0"),
        ({"train_portion": 0.0}, "train_portion: expected above 0"),
        ({"train_portion": 1.0}, "train_portion: expected less than 1, got 1.0"),
        ({"warmup_epochs": -1}, "warmup_epochs: expected at least 0, got -1"),
        ({"epochs": 10}, "warmup_epochs: expected less than the 10 epochs, got 15"),
        ({"unrolled": True, "selection": "random"}, "unrolled: .* selection than random"),
        ({"unrolled": True, "selection": "attention-random"}, "unrolled: .* than attention-random"),
        (
            {"unrolled": True, "precision": "bf16"},
            "precision: expected fp32 with unrolled, got bf16",
        ),
    ],
)
def test_a_bad_value_is_one_clear_line(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        SearchConfig(**options)
    assert "\n" not in str(caught.value)


def test_a_path_will_do_for_a_folder(tmp_path):
    SearchConfig(dataset="folder", data_dir=tmp_path).save(tmp_path)
    assert SearchConfig.load(tmp_path).data_dir == str(tmp_path)


def test_options_are_read_back_as_they_were_written(tmp_path):
    written = SearchConfig(dataset="folder", data_dir="images", image_size=20, unrolled=True)
    written.save(tmp_path)
    assert SearchConfig.load(tmp_path) == written
    assert json.loads((tmp_path / "config.json").read_text())["kind"] == "search"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "damaged, or not JSON"),
        ("[]", "expected the run of a search, got something else"),
        ('{"kind": "retrain"}', "expected the run of a search, got one of a retrain"),
        (
            '{"kind": "search", "epohcs": 3}',
            r"config.json: unknown option 'epohcs'; did you mean epochs\?",
        ),
        (
            '{"kind": "search", "epochs": "3"}',
            "config.json: epochs: expected a whole number, got '3'",
        ),
    ],
)
def test_damaged_options_are_one_clear_error(content, message, tmp_path):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        SearchConfig.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_run_is_one_clear_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="not the folder of a run"):
        SearchConfig.load(tmp_path)


def test_a_run_goes_on_only_under_the_options_it_was_begun_with(tmp_path):
    begun = SearchConfig(dataset="cifar10")
    begun.save(tmp_path)
    moved = dataclasses.replace(
        begun, data_dir="elsewhere", download=True, device="cpu", memory="recompute"
    )
    moved.check_continues(tmp_path)
    for name, value in (("epochs", 90), ("seed", 1), ("selection", "first"), ("augment", False)):
        with pytest.raises(ValueError, match=f"begun with {name} .*, cannot go on with {value}"):
            dataclasses.replace(begun, **{name: value}).check_continues(tmp_path)
