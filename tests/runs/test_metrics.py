from __future__ import annotations

import pytest
import torch
from torch import nn

from adarts_ext.runs.metrics import RunningMean, evaluate_network


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
