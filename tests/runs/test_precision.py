"""Runs in bfloat16: what stays float32, that they go on bit for bit, how near their logits are."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from comparison import Errors
from image_folder import write_images
from run_state import assert_same_run, interrupted_in
from small_runs import TWO_NODES, small_retrain, small_search

from adarts_ext.files import read_json
from adarts_ext.nn import DerivedNetwork, SearchNetwork
from adarts_ext.retrain import evaluate, retrain
from adarts_ext.retrain import loop as retrain_loop
from adarts_ext.runs.checkpoint import load_checkpoint
from adarts_ext.runs.precision import set_precision
from adarts_ext.search import loop, search


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """An image folder of 32 + 8 small images in two classes: dark and light noise."""
    return write_images(tmp_path_factory.mktemp("images"), 16, 4, channels=3)


@pytest.fixture(scope="module")
def config(images):
    return small_retrain(images, precision="bf16")


def floating_dtypes(state):
    """The dtypes of all floating-point tensors in nested dictionaries and lists."""
    if isinstance(state, torch.Tensor):
        return {state.dtype} if state.is_floating_point() else set()
    values = state.values() if isinstance(state, dict) else state
    return set().union(*map(floating_dtypes, values)) if isinstance(state, dict | list) else set()


def losses(folder):
    return [entry["train_loss"] for entry in read_json(folder / "history.json")]


def test_a_search_in_bfloat16_ends_and_keeps_its_state_in_float32(images, tmp_path):
    folders = {}
    for precision in ("fp32", "bf16"):
        folders[precision] = tmp_path / precision
        config = small_search(images, steps=1, proportion=4, precision=precision)
        search(config, folders[precision])
    state = load_checkpoint(folders["bf16"] / "checkpoint.pt", "search")
    for part in ("network", "weight_optimizer", "arch_optimizer"):
        assert floating_dtypes(state[part]) == {torch.float32}, part
    assert losses(folders["bf16"]) != losses(folders["fp32"])
    assert losses(folders["bf16"]) == pytest.approx(losses(folders["fp32"]), abs=0.1)


def test_a_search_in_bfloat16_goes_on_bit_for_bit(images, tmp_path):
    config = small_search(images, steps=1, proportion=4, precision="bf16")
    search(config, tmp_path / "whole")
    with interrupted_in(2, loop), pytest.raises(KeyboardInterrupt):
        search(config, tmp_path / "broken")
    with pytest.raises(ValueError, match="begun with precision bf16, cannot go on with fp32"):
        search(replace(config, precision="fp32"), tmp_path / "broken", resume=True)
    search(config, tmp_path / "broken", resume=True)
    assert_same_run(tmp_path / "broken", tmp_path / "whole")


def test_a_retraining_in_bfloat16_goes_on_bit_for_bit_and_is_tested_so(config, tmp_path):
    result = retrain(TWO_NODES, config, tmp_path / "whole")
    state = load_checkpoint(tmp_path / "whole" / "checkpoint.pt", "retrain")
    for part in ("network", "optimizer"):
        assert floating_dtypes(state[part]) == {torch.float32}, part
    with interrupted_in(2, retrain_loop), pytest.raises(KeyboardInterrupt):
        retrain(TWO_NODES, config, tmp_path / "broken")
    retrain(TWO_NODES, config, tmp_path / "broken", resume=True)
    assert_same_run(tmp_path / "broken", tmp_path / "whole")
    tested = evaluate(tmp_path / "whole", device="cpu")
    last = read_json(tmp_path / "whole" / "history.json")[-1]
    assert tested["test_accuracy"] == result.test_accuracy_last
    assert tested["test_loss"] == last["test_loss"]


def test_both_outputs_are_those_of_autocast_in_float32():
    network = DerivedNetwork(TWO_NODES, 4, 10, 3)
    plain = copy.deepcopy(network)
    set_precision(network, "bf16")
    images = torch.randn(2, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        expected = plain(images)
    for logits, theirs in zip(network(images), expected, strict=True):
        assert theirs.dtype == torch.bfloat16
        assert logits.dtype == torch.float32
        assert torch.equal(logits, theirs.float())


def test_float32_is_left_alone():
    network = torch.nn.Linear(3, 2)
    images = torch.randn(4, 3)
    expected = network(images)
    set_precision(network, "fp32")
    assert torch.equal(network(images), expected)


def test_a_copy_computes_in_the_same_precision_with_weights_of_its_own():
    network = torch.nn.Linear(3, 2)
    set_precision(network, "bf16")
    images = torch.randn(4, 3)
    expected = network(images)
    twin = copy.deepcopy(network)
    with torch.no_grad():
        twin.weight.zero_()
        twin.bias.fill_(1 / 3)
    assert torch.equal(network(images), expected)
    assert torch.equal(twin(images), torch.full((4, 2), 1 / 3).bfloat16().float())


def test_the_logits_of_the_supernet_are_as_near_as_those_of_plain_torch_in_bfloat16():
    errors = Errors()
    choices = {"init_channels": 8, "layers": 3, "steps": 2, "selection": "first"}
    for seed in errors.until_clear():
        torch.manual_seed(seed)
        network, images = SearchNetwork(**choices), torch.randn(16, 3, 16, 16)
        plain = SearchNetwork(**choices, backend="reference")
        plain.load_state_dict(network.state_dict())
        exact = copy.deepcopy(plain).double()
        set_precision(network, "bf16")
        set_precision(plain, "bf16")
        errors.add("logits", network(images), plain(images), exact(images.double()))
    errors.assert_at_most_twice()
