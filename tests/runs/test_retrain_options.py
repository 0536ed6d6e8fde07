"""Retraining with a moving average, smoothed labels, another memory format and torch.compile."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace

import pytest
import torch
from comparison import assert_exact
from image_folder import write_images
from run_state import assert_equal_state, assert_same_run, interrupted_in
from small_runs import TWO_NODES, small_retrain
from torch import nn

from adarts_ext.data import load_dataset
from adarts_ext.files import read_json
from adarts_ext.genotype import ADARTS_V2, Genotype
from adarts_ext.nn import DerivedNetwork
from adarts_ext.retrain import RetrainConfig, compiled, evaluate, loop, retrain
from adarts_ext.retrain.build import place_network
from adarts_ext.retrain.compiled import compile_cells
from adarts_ext.retrain.config import MEMORY_FORMATS
from adarts_ext.runs.checkpoint import load_checkpoint

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """An image folder of 32 + 8 small images in two classes: dark and light noise."""
    return write_images(tmp_path_factory.mktemp("images"), 16, 4, channels=3)


@pytest.fixture(scope="module")
def config(images):
    return small_retrain(images, learning_rate=0.1)


def test_the_average_is_that_of_the_formula_and_is_what_is_tested(config, tmp_path, monkeypatch):
    """w' <- w after the first step, then w' <- decay w' + (1 - decay) w; statistics likewise."""
    expected, step = {}, loop.train_step

    def watched_step(state, *rest):
        done = step(state, *rest)
        for name, tensor in state.network.state_dict().items():
            if tensor.is_floating_point():
                before = expected.get(name, tensor.double())
                expected[name] = 0.75 * before + 0.25 * tensor.double()
        return done

    monkeypatch.setattr(loop, "train_step", watched_step)
    result = retrain(TWO_NODES, replace(config, ema_decay=0.75), tmp_path)
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    assert state["average"]["n_averaged"] == 8
    for name, tensor in expected.items():
        average = state["average"][f"module.{name}"]
        torch.testing.assert_close(average.double(), tensor, rtol=1e-5, atol=1e-6)
        assert "running" in name or not torch.equal(average, state["network"][name])
    tested = evaluate(tmp_path, device="cpu")
    last = read_json(tmp_path / "history.json")[-1]
    assert tested["test_loss"] == last["test_loss"]
    assert tested["test_accuracy"] == result.test_accuracy_last

    options = read_json(tmp_path / "config.json")
    replace(RetrainConfig.load(tmp_path), ema_decay=0.0).save(tmp_path)
    assert options["ema_decay"] == 0.75
    assert evaluate(tmp_path, device="cpu")["test_loss"] != last["test_loss"]


def test_a_training_with_an_average_goes_on_bit_for_bit(config, tmp_path):
    averaged = replace(config, ema_decay=0.9)
    retrain(TWO_NODES, averaged, tmp_path / "whole")
    with interrupted_in(2, loop), pytest.raises(KeyboardInterrupt):
        retrain(TWO_NODES, averaged, tmp_path / "broken")
    retrain(TWO_NODES, averaged, tmp_path / "broken", resume=True)
    assert_same_run(tmp_path / "broken", tmp_path / "whole")


def test_the_average_changes_nothing_of_the_training(config, tmp_path):
    states = []
    for decay in (0.0, 0.9):
        retrain(TWO_NODES, replace(config, ema_decay=decay, epochs=1), tmp_path / str(decay))
        states.append(load_checkpoint(tmp_path / str(decay) / "checkpoint.pt"))
    assert_equal_state(states[0]["network"], states[1]["network"])
    assert "average" not in states[0]


def test_smoothed_labels(config):
    """A part of the weight is spread over both classes: of both heads' losses."""
    smoothed = replace(config, label_smoothing=0.2, augment=False, grad_clip=1e9)
    state, _, _ = loop.prepare(TWO_NODES, smoothed, load_dataset("folder", config.data_dir))
    images, labels = state.loader.next()
    network = copy.deepcopy(state.network.train())
    targets = 0.8 * nn.functional.one_hot(labels, 2) + 0.1
    losses = [-(targets * logits.log_softmax(1)).sum(1).mean() for logits in network(images)]
    (losses[0] + 0.4 * losses[1]).backward()
    loss, _ = loop.train_step(state, smoothed, images, labels)
    torch.testing.assert_close(loss, losses[0].detach())
    for ours, theirs in zip(state.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("memory_format", MEMORY_FORMATS)
def test_feature_maps_lie_as_asked(memory_format):
    config = RetrainConfig(memory_format=memory_format)
    network = place_network(DerivedNetwork(ADARTS_V2, 4, 10, 3), config, CPU).eval()
    seen = []
    for cell in network.cells:
        cell.register_forward_hook(lambda module, inputs, output: seen.append(output))
    network(torch.randn(2, 3, 16, 16))
    last = [output.is_contiguous(memory_format=torch.channels_last) for output in seen]
    assert last == [memory_format == "channels_last"] * 3


def test_the_memory_format_changes_nothing_but_rounding():
    torch.manual_seed(0)
    network, images = DerivedNetwork(ADARTS_V2, 4, 10, 3).double(), torch.randn(8, 3, 16, 16)
    found = {}
    for memory_format in MEMORY_FORMATS:
        config = RetrainConfig(memory_format=memory_format)
        placed = place_network(copy.deepcopy(network), config, CPU)
        logits, auxiliary_logits = placed(images.double())
        (logits.square().mean() + auxiliary_logits.square().mean()).backward()
        found[memory_format] = {name: p.grad for name, p in placed.named_parameters()}
        found[memory_format] |= {"logits": logits.detach(), "other": auxiliary_logits.detach()}
    assert_exact(*found.values())


@pytest.fixture
def graphs(monkeypatch):
    """Have torch.compile run what it traced as it is, so that the numbers stay; what it traced."""
    graphs, compile_by = [], torch.compile

    def traced(graph, inputs):
        graphs.append(graph)
        return graph

    monkeypatch.setattr(compiled.torch, "compile", lambda f: compile_by(f, backend=traced))
    return graphs


def test_the_cells_are_compiled(config, tmp_path, graphs):
    short = replace(config, epochs=1, layers=1, drop_path_prob=0.0, augment=False)
    retrain(TWO_NODES, replace(short, compile=True), tmp_path / "compiled")
    assert graphs
    retrain(TWO_NODES, short, tmp_path / "plain")
    assert_same_run(tmp_path / "compiled", tmp_path / "plain")


def test_cells_that_are_alike_are_compiled_once_for_all_probabilities(graphs):
    edges = (("max_pool_3x3", 0), ("skip_connect", 1))
    genotype = Genotype(edges, (2,), edges, (2,))
    network = DerivedNetwork(genotype, init_channels=4, layers=12)  # as many kinds as 20 have
    compile_cells(network)
    images, counts = torch.randn(2, 3, 16, 16), []
    for network.drop_path_prob in (0.0, 0.1, 0.2, 0.3):
        network(images)
        counts.append(len(graphs))
    network.eval()(images)
    assert [*counts, len(graphs)] == [9, 18, 18, 18, 18]


def test_what_cannot_be_compiled_goes_on_with_one_line_that_says_why(monkeypatch):
    compile_by = torch.compile

    def failing(graph, inputs):
        raise RuntimeError("No working C++ compiler found\nin many lines")

    monkeypatch.setattr(compiled.torch, "compile", lambda f: compile_by(f, backend=failing))
    network = DerivedNetwork(TWO_NODES, init_channels=4, layers=1, auxiliary=False)
    images = torch.randn(4, 3, 16, 16)
    expected = network(images)
    compile_cells(network)
    with pytest.warns(UserWarning, match=r"^compile: .*No working C\+\+ compiler") as caught:
        assert torch.equal(network(images), expected)
    assert "\n" not in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(network(images), expected)
