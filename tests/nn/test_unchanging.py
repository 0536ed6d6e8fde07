"""A network whose layers are taken for unchanged: looked at once, with the same numbers."""

from __future__ import annotations

import copy
from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from adarts_ext.nn import SearchNetwork
from adarts_ext.nn.unchanged import AsBuilt

IMAGES = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([1, 4, 7])


def network(flat: bool = True) -> SearchNetwork:
    torch.manual_seed(0)
    net = SearchNetwork(init_channels=4, layers=3, proportion=2, steps=2)
    if flat:
        net.flat_parameters()
    return net


def train(net: SearchNetwork) -> torch.Tensor:
    net.train()
    logits = net(IMAGES.to(net.classifier.weight.dtype))
    cross_entropy(logits, LABELS).backward()
    with torch.no_grad():
        for weight in net.parameters():
            weight -= 0.1 * weight.grad
    return logits.detach()


def evaluate(net: SearchNetwork) -> torch.Tensor:
    return net.eval()(IMAGES.to(net.classifier.weight.dtype)).detach()


def double(net: SearchNetwork) -> None:
    net.double()


def add_hook(net: SearchNetwork) -> None:
    net.cells[1]._ops[0]._ops[4].register_forward_hook(lambda module, inputs, y: 2 * y)


@pytest.fixture
def looks(monkeypatch) -> Counter:
    """How often all layers of each cell or edge were looked at."""
    counts: Counter[type] = Counter()
    change = AsBuilt.change

    def counted(built: AsBuilt, root: nn.Module) -> str | None:
        counts[type(root).__name__] += 1
        return change(built, root)

    monkeypatch.setattr(AsBuilt, "change", counted)
    return counts


@pytest.mark.parametrize("flat", [False, True])
def test_the_numbers_are_those_of_a_network_that_is_looked_at(flat):
    plain, net = network(flat), network(flat)
    with net.unchanging():
        for act in (train, train, evaluate, train, double, train, evaluate, add_hook, train):
            expected = act(plain)
            if expected is not None:
                assert torch.equal(act(net), expected), act
            else:
                act(net)
    for (name, expected), got in zip(
        plain.state_dict().items(), net.state_dict().values(), strict=True
    ):
        assert torch.equal(got, expected), name
    assert net.cells[1].kernels() == "operator by operator (a layer has hooks)"


def test_the_layers_are_looked_at_once(looks):
    net = network()
    looks.clear()
    with net.unchanging():
        for _ in range(3):
            train(net)
        assert looks == {"SearchCell": 3}
        evaluate(net)
        evaluate(net)
        assert looks == {"SearchCell": 6}
    train(net)
    train(net)
    assert looks == {"SearchCell": 12}


def test_after_the_block_a_change_is_noticed():
    net = network()
    with net.unchanging():
        train(net)
        net.cells[0]._ops[3]._ops[4].op[0] = nn.GELU()
        assert net.cells[0].is_fused
    assert net.cells[0].kernels() == "operator by operator (a layer was exchanged)"


def test_a_copy_made_in_the_block_is_looked_at():
    net = network()
    with net.unchanging():
        train(net)
        other = copy.deepcopy(net)
        other.cells[0]._ops[3]._ops[4].op[0] = nn.GELU()
        replica = net.cells[0]._replicate_for_data_parallel()
        replica._modules = {**replica._modules, "_ops": nn.ModuleList(net.cells[1]._ops)}
        assert net.cells[0].is_fused
    for each in (other.cells[0], replica):
        assert each.kernels() == "operator by operator (a layer was exchanged)"
