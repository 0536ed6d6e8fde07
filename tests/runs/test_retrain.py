from __future__ import annotations

import json
import shutil
import signal
import warnings
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from image_folder import write_images
from run_state import assert_equal_state, assert_same_run, measured
from small_runs import TWO_NODES, small_retrain
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from adarts_ext.data import load_dataset
from adarts_ext.files import read_json, write_json
from adarts_ext.genotype import ADARTS_V2, Genotype
from adarts_ext.nn import DerivedNetwork
from adarts_ext.retrain import build, evaluate, loop, retrain
from adarts_ext.runs import checkpoint as checkpoint_module
from adarts_ext.runs.checkpoint import load_checkpoint


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """An image folder of 64 + 24 small images in two classes: dark and light noise."""
    return write_images(tmp_path_factory.mktemp("images"), 32, 12, channels=3)


@pytest.fixture(scope="module")
def config(images):
    return small_retrain(images, epochs=3, batch_size=16, learning_rate=0.1)


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    """The folder of a run that went through without a break, and its result."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return folder, retrain(TWO_NODES, config, folder)


@pytest.fixture(scope="module")
def broken_off(config, tmp_path_factory):
    """The folder of a run that broke off in the middle of its second epoch."""
    folder, whole_epoch = tmp_path_factory.mktemp("runs") / "broken", loop.train_epoch

    def breaking_epoch(state, config, training, epochs_left):
        if training.epoch == 1:
            return whole_epoch(state, config, training, epochs_left)
        state.loader.next()
        with torch.no_grad():
            next(state.network.parameters()).add_(1)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train_epoch", breaking_epoch)
        with pytest.raises(KeyboardInterrupt):
            retrain(TWO_NODES, config, folder)
    return folder


def test_run_folder(finished, config):
    folder, result = finished
    assert read_json(folder / "config.json") == {"kind": "retrain", **asdict(config)}
    assert Genotype.load(folder / "genotype.json") == TWO_NODES
    assert read_json(folder / "result.json") == result.record()
    assert (result.folder, result.genotype) == (folder, TWO_NODES)
    checkpoint = load_checkpoint(folder / "checkpoint.pt", "retrain")
    assert read_json(folder / "history.json") == checkpoint["history"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint.previous.pt",
        "checkpoint.pt",
        "config.json",
        "dataset.json",
        "genotype.json",
        "history.json",
        "machine.json",
        "result.json",
        "tensorboard",
    ]


def test_result_names_the_last_and_the_best_epoch(finished):
    folder, result = finished
    history = read_json(folder / "history.json")
    accuracies = [entry["test_accuracy"] for entry in history]
    assert [entry["epoch"] for entry in history] == [1, 2, 3]
    assert result.test_accuracy_last == accuracies[-1]
    assert result.test_accuracy_best == max(accuracies)
    assert result.best_epoch == 1 + accuracies.index(max(accuracies))
    assert result.seconds == sum(entry["seconds"] for entry in history)


def test_tests_may_be_some_epochs_apart(config, tmp_path):
    result = retrain(TWO_NODES, replace(config, epochs=3, test_every=2), tmp_path)
    history = read_json(tmp_path / "history.json")
    tested = [entry["test_accuracy"] for entry in history]
    assert [accuracy is None for accuracy in tested] == [True, False, False]
    assert result.test_accuracy_last == tested[2]
    assert result.test_accuracy_best == max(tested[1:])


def test_learning_rate_falls_on_a_cosine(finished, config):
    history = read_json(finished[0] / "history.json")
    rates = [entry["learning_rate"] for entry in history]
    expected = [config.learning_rate * (1 + np.cos(np.pi * done / 3)) / 2 for done in range(3)]
    assert np.abs(np.array(rates) - expected).max() < 1e-15


def test_tensorboard_holds_the_history(finished):
    folder, _ = finished
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    history = read_json(folder / "history.json")
    for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy", "learning_rate"):
        scalars = events.Scalars(name)
        assert [scalar.step for scalar in scalars] == [1, 2, 3]
        logged = np.array([scalar.value for scalar in scalars], dtype=np.float32)
        expected = np.array([entry[name] for entry in history], dtype=np.float32)
        assert np.array_equal(logged, expected)


def test_a_network_learns(config, tmp_path):
    longer = replace(config, epochs=4, augment=False, drop_path_prob=0.0)
    assert retrain(TWO_NODES, longer, tmp_path).test_accuracy_last == 1.0


def test_resumed_run_ends_as_the_whole_one_bit_for_bit(finished, broken_off, config, tmp_path):
    folder, result = finished
    shutil.copytree(broken_off, tmp_path, dirs_exist_ok=True)
    assert len(read_json(tmp_path / "history.json")) == 1
    assert not (tmp_path / "result.json").exists()
    torch.manual_seed(1234)  # what else was drawn meanwhile does not matter
    resumed = retrain(TWO_NODES, config, tmp_path, resume=True)
    assert replace(resumed, folder=folder, **measured(result)) == result
    assert_same_run(tmp_path, folder)


def test_a_signal_lets_the_step_end_and_saves(finished, config, tmp_path, monkeypatch):
    steps, train_step = [], loop.train_step

    def interrupted_step(*arguments):
        steps.append(None)
        if len(steps) == 6:  # the second of the second epoch
            signal.raise_signal(signal.SIGTERM)
        return train_step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", interrupted_step)
        with pytest.raises(SystemExit) as caught:
            retrain(TWO_NODES, config, tmp_path)
    assert caught.value.code == 143
    assert load_checkpoint(tmp_path / "checkpoint.pt")["under_way"]["step"] == 2
    assert evaluate(tmp_path, device="cpu")["epoch"] == 1
    torch.manual_seed(1234)
    retrain(TWO_NODES, config, tmp_path, resume=True)
    assert_same_run(tmp_path, finished[0])


def test_resuming_with_other_threads_warns_where_there_is_something_left_to_do(
    broken_off, config, tmp_path
):
    shutil.copytree(broken_off, tmp_path, dirs_exist_ok=True)
    write_json(tmp_path / "machine.json", read_json(tmp_path / "machine.json") | {"threads": 99})
    with pytest.warns(UserWarning, match="begun with threads 99, now"):
        retrain(TWO_NODES, config, tmp_path, resume=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        retrain(TWO_NODES, config, tmp_path, resume=True)


def test_resuming_a_finished_run_gives_its_result(finished, config, tmp_path):
    folder, result = finished
    copied = shutil.copytree(folder, tmp_path / "copy")
    assert retrain(TWO_NODES, config, copied, resume=True) == replace(result, folder=copied)


def test_the_same_seed_gives_the_same_run(finished, config, tmp_path):
    retrain(TWO_NODES, config, tmp_path / "again")
    retrain(TWO_NODES, replace(config, seed=1), tmp_path / "other")
    first = load_checkpoint(finished[0] / "checkpoint.pt")["network"]
    again = load_checkpoint(tmp_path / "again" / "checkpoint.pt")["network"]
    other = load_checkpoint(tmp_path / "other" / "checkpoint.pt")["network"]
    assert_equal_state(again, first)
    assert any(not torch.equal(other[name], first[name]) for name in first)


def test_drop_path_rises_linearly(config, tmp_path, monkeypatch):
    seen = []
    whole_epoch = loop.train_epoch

    def watching_epoch(state, *rest):
        seen.append(state.network.drop_path_prob)
        return whole_epoch(state, *rest)

    monkeypatch.setattr(loop, "train_epoch", watching_epoch)
    retrain(TWO_NODES, replace(config, drop_path_prob=0.3), tmp_path)
    assert seen == [0.3 * done / 3 for done in range(3)]


def test_all_training_images_and_gradient_clipping(config, tmp_path, monkeypatch):
    norms = []
    clip = torch.nn.utils.clip_grad_norm_

    def watching_clip(parameters, max_norm):
        parameters = list(parameters)
        clip(parameters, max_norm)
        squares = [(parameter.grad.double() ** 2).sum() for parameter in parameters]
        norms.append(torch.stack(squares).sum().sqrt().item())

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", watching_clip)
    retrain(TWO_NODES, replace(config, epochs=1, grad_clip=1e-3), tmp_path)
    assert len(norms) == 64 // 16
    assert max(norms) < 1e-3 * (1 + 1e-4)


@pytest.mark.parametrize("auxiliary", [False, True])
def test_one_step_is_that_of_the_formula(config, tmp_path, auxiliary):
    """One epoch of one batch, against SGD with momentum written out."""
    one = replace(
        config,
        epochs=1,
        batch_size=64,
        augment=False,
        auxiliary=auxiliary,
        grad_clip=1e9,
        weight_decay=0.01,
    )
    retrain(TWO_NODES, one, tmp_path)
    trained = load_checkpoint(tmp_path / "checkpoint.pt")["network"]

    data = load_dataset("folder", config.data_dir)
    torch.manual_seed(config.seed)
    network = DerivedNetwork(TWO_NODES, 4, 2, 3, auxiliary=auxiliary)
    network.train()
    images, labels = build.make_train_loader(one, data, torch.device("cpu")).next()
    outputs = network(images) if auxiliary else (network(images),)
    losses = [torch.nn.functional.cross_entropy(logits, labels) for logits in outputs]
    (losses[0] + 0.4 * losses[1] if auxiliary else losses[0]).backward()
    for name, parameter in network.named_parameters():
        before = parameter.detach()
        expected = before - 0.1 * (parameter.grad + 0.01 * before)
        bound = 4 * torch.finfo(torch.float32).eps * (before.abs() + 0.1 * parameter.grad.abs())
        assert ((trained[name] - expected).abs() <= bound).all(), name


def test_macs_are_the_multiply_adds_and_flops_twice_as_many(finished, config):
    network = DerivedNetwork(TWO_NODES, 4, 2, 3, auxiliary=False).eval()
    multiply_adds = 0

    def count(module, inputs, output):
        nonlocal multiply_adds
        if isinstance(module, torch.nn.Conv2d):
            multiply_adds += output.numel() * module.weight[0].numel()
        elif isinstance(module, torch.nn.Linear):
            multiply_adds += output.numel() * module.in_features

    for module in network.modules():
        module.register_forward_hook(count)
    network(torch.zeros(1, 3, 16, 16))
    assert finished[1].macs == multiply_adds
    assert finished[1].flops == 2 * multiply_adds


def test_evaluation_gives_what_the_last_epoch_gave(finished, capsys):
    folder, result = finished
    capsys.readouterr()
    evaluated = evaluate(folder, device="cpu")
    last = read_json(folder / "history.json")[-1]
    assert evaluated["test_accuracy"] == result.test_accuracy_last
    assert evaluated["test_loss"] == last["test_loss"]
    assert (evaluated["epoch"], evaluated["epochs"], evaluated["test_images"]) == (3, 3, 24)
    for name in ("dataset", "parameters", "parameters_with_auxiliary", "macs", "flops"):
        assert evaluated[name] == getattr(result, name)
    assert evaluated["parameters_with_auxiliary"] > evaluated["parameters"]
    assert capsys.readouterr() == ("", "")


def test_evaluation_of_data_that_were_moved(finished, config, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished[0], folder)
    options = read_json(folder / "config.json")
    write_json(folder / "config.json", options | {"data_dir": str(tmp_path / "absent")})
    with pytest.raises(FileNotFoundError, match="absent"):
        evaluate(folder, device="cpu")
    evaluated = evaluate(folder, data_dir=config.data_dir, device="cpu")
    assert evaluated["test_accuracy"] == finished[1].test_accuracy_last


def test_a_second_run_in_the_same_folder(finished, config):
    with pytest.raises(ValueError, match=r"already holds a run.*resume=True"):
        retrain(TWO_NODES, config, finished[0])


def test_resuming_with_another_option(finished, config):
    with pytest.raises(ValueError, match=r"begun with learning_rate 0\.1, cannot go on with 0\.2"):
        retrain(TWO_NODES, replace(config, learning_rate=0.2), finished[0], resume=True)


def test_resuming_with_another_genotype(finished, config):
    with pytest.raises(ValueError, match="another genotype"):
        retrain(ADARTS_V2, config, finished[0], resume=True)


def test_nothing_to_resume(config, tmp_path):
    with pytest.raises(FileNotFoundError, match="to resume from"):
        retrain(TWO_NODES, config, tmp_path, resume=True)


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "copy")


def test_search_run(copy):
    write_json(copy / "config.json", {"kind": "search", "epochs": 50})
    with pytest.raises(ValueError, match="expected the run of a retrain, got one of a search"):
        evaluate(copy, device="cpu")


@pytest.mark.parametrize("content", ["[1]", "{}", "5"])
def test_config_of_something_else(copy, content):
    (copy / "config.json").write_text(content)
    with pytest.raises(ValueError, match="expected the run of a retrain, got something else"):
        evaluate(copy, device="cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unheard_of": 1}, "unheard_of"),
        ({"epochs": "many"}, "epochs: expected a whole number, got 'many'"),
        ({"layers": 4}, "its weights do not fit"),
    ],
)
def test_damaged_config(copy, changes, message):
    options = read_json(copy / "config.json")
    (copy / "config.json").write_text(json.dumps(options | changes))
    with pytest.raises(ValueError, match=message) as caught:
        evaluate(copy, device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["checkpoint*.pt", "config.json", "genotype.json"])
@pytest.mark.parametrize("command", ["evaluate", "resume"])
def test_truncated_file_of_a_run_is_named(copy, config, name, command):
    for path in copy.glob(name):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    commands = {
        "evaluate": lambda: evaluate(copy, device="cpu"),
        "resume": lambda: retrain(TWO_NODES, config, copy, resume=True),
    }
    with pytest.raises(ValueError, match="damaged") as caught:
        commands[command]()
    assert all(str(path) in str(caught.value) for path in copy.glob(name))
    assert "\n" not in str(caught.value)


def test_out_of_memory_is_not_taken_for_weights_that_do_not_fit(finished, monkeypatch):
    def fail(*arguments, **keywords):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(DerivedNetwork, "load_state_dict", fail)
    with pytest.raises(torch.OutOfMemoryError):
        evaluate(finished[0], device="cpu")


@pytest.mark.parametrize("name", ["checkpoint.pt", "config.json", "genotype.json"])
def test_missing_file_of_a_run_is_named(copy, name):
    (copy / "checkpoint.previous.pt").unlink()
    (copy / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        evaluate(copy, device="cpu")


def test_full_disk_keeps_the_last_checkpoint(config, tmp_path, monkeypatch):
    save = checkpoint_module.save_checkpoint

    def filling_save(path, state, previous):
        if len(state["history"]) == 2:
            raise OSError(28, "No space left on device", str(path))
        save(path, state, previous)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_module, "save_checkpoint", filling_save)
        with pytest.raises(OSError, match="No space left on device"):
            retrain(TWO_NODES, config, tmp_path)
    resumed = retrain(TWO_NODES, config, tmp_path, resume=True)
    assert [entry["epoch"] for entry in read_json(tmp_path / "history.json")] == [1, 2, 3]
    assert resumed.epochs == 3


def test_divergence_is_told_and_not_saved(config, tmp_path):
    wild = replace(config, learning_rate=1e30, grad_clip=1e30)
    with pytest.raises(ValueError, match=r"diverged in epoch 1.*learning_rate"):
        retrain(TWO_NODES, wild, tmp_path)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_cutout_is_half_the_image_by_default(images, config):
    data = load_dataset("folder", str(images))
    cpu = torch.device("cpu")
    assert build.make_train_loader(config, data, cpu).cutout == 8
    assert build.make_train_loader(replace(config, cutout=0), data, cpu).cutout == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cutout": 17}, "cutout: expected at most the image's shorter side, 16, got 17"),
        ({"batch_size": 65}, "batch_size: expected at most the 64 training images of .*, got 65"),
        ({"device": "tpu"}, "device: expected auto"),
    ],
)
def test_options_that_do_not_fit_the_data(config, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        retrain(TWO_NODES, replace(config, **changes), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
