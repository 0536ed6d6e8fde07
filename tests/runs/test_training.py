from __future__ import annotations

import pytest
import torch
from torch import nn

from adarts_ext.training import (
    RunningMean,
    evaluate_network,
    resolve_device,
    rng_state,
    set_rng_state,
)


def test_auto_is_a_device_that_is_there():
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert resolve_device("auto").type == expected


@pytest.mark.parametrize("name", ["gpu", "", "meta", "cpu0", "cuda:x"])
def test_unknown_device(name):
    with pytest.raises(
        ValueError, match="expected auto, cpu, cuda or cuda:<number>, got"
    ) as caught:
        resolve_device(name)
    assert "\n" not in str(caught.value)


def test_cuda_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="cuda was asked for, but torch finds no CUDA device"):
        resolve_device("cuda")


def test_cuda_device_beyond_the_last(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert resolve_device("cuda:0") == torch.device("cuda", 0)
    with pytest.raises(ValueError, match="cuda:1 was asked for, but torch finds 1 CUDA device"):
        resolve_device("cuda:1")


def test_rng_state_from_a_machine_with_other_devices():
    state = rng_state() | {"cuda": [torch.zeros(16, dtype=torch.uint8)] * 9}
    expected = torch.rand(2)
    set_rng_state(state)
    assert torch.equal(torch.rand(2), expected)


def test_running_mean_is_summed_in_float64():
    mean = RunningMean()
    for _ in range(1000):
        mean.add(torch.tensor(0.1), weight=3)
    assert abs(mean.value() - torch.tensor(0.1).double().item()) < 1e-15


def test_running_mean_of_nothing():
    assert RunningMean().value() != RunningMean().value()


@pytest.mark.parametrize("training", [False, True])
def test_evaluation_weighs_images_not_batches(training):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 3)).train(training)
    inputs, labels = torch.randn(10, 4), torch.randint(3, (10,))
    batches = [(inputs[:7], labels[:7]), (inputs[7:], labels[7:])]
    loss, fraction = evaluate_network(network, batches)
    assert network.training == training
    logits = nn.functional.linear(inputs.double(), *(w.double() for w in network[1].parameters()))
    exact = nn.functional.cross_entropy(logits, labels).item()
    assert abs(loss - exact) < 10 * torch.finfo(torch.float32).eps
    assert fraction == pytest.approx((logits.argmax(1) == labels).double().mean().item(), rel=1e-6)
