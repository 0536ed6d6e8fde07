"""Weights that are trained end to end: the numbers of those trained one by one."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch.nn.functional import cross_entropy

from adarts_ext.nn import SearchNetwork

IMAGES = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([1, 4, 7])


def network(**options) -> SearchNetwork:
    torch.manual_seed(0)
    return SearchNetwork(init_channels=4, layers=3, proportion=2, steps=2, **options)


def train(net: SearchNetwork, weights, steps: int = 3, set_to_none: bool = False) -> list[float]:
    """Train the weights by SGD; return the losses."""
    optimizer = torch.optim.SGD(weights, 0.1, momentum=0.9, weight_decay=1e-3)
    losses = []
    for _ in range(steps):
        loss = cross_entropy(net(IMAGES.to(net.classifier.weight.dtype)), LABELS)
        optimizer.zero_grad(set_to_none)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def assert_same(one: SearchNetwork, other: SearchNetwork) -> None:
    for (name, expected), (_, got) in zip(
        one.state_dict().items(), other.state_dict().items(), strict=True
    ):
        assert torch.equal(expected, got), name


@pytest.mark.parametrize("set_to_none", [False, True])
@pytest.mark.parametrize(
    "options",
    [{}, {"memory": "recompute"}, {"selection": "first"}, {"backend": "reference"}],
    ids=str,
)
def test_flat_weights_train_as_parameters_do(options, set_to_none):
    plain, flat = network(**options), network(**options)
    names = [name for name, _ in plain.named_parameters()]
    weights = flat.flat_parameters()
    assert sum(w.numel() for w in weights) == sum(p.numel() for p in plain.parameters())
    assert [name for name, _ in flat.named_parameters()] == names
    assert len(weights) < len(names) / 10 or options.get("backend") == "reference"
    expected = train(plain, plain.parameters(), set_to_none=set_to_none)
    assert train(flat, weights, set_to_none=set_to_none) == expected
    assert_same(plain, flat)
    for one, other in zip(plain.parameters(), flat.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


def test_it_is_done_once():
    net = network()
    again = zip(net.flat_parameters(), net.flat_parameters(), strict=True)
    assert all(one is other for one, other in again)


@pytest.mark.parametrize("hooked", [lambda edge: edge, lambda edge: edge._ops[4]])
def test_a_cell_that_leaves_the_kernels_trains_its_flat_weights(hooked):
    plain, flat = network(), network()
    weights = flat.flat_parameters()
    for net in (plain, flat):  # hooks are called operator by operator
        hooked(net.cells[1]._ops[0]).register_forward_hook(lambda *_: None)
    assert not flat.cells[1].is_fused
    assert train(flat, weights) == train(plain, plain.parameters())
    assert_same(plain, flat)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_is_an_ordinary_network(copied):
    net, fresh = network(), network()
    net.flat_parameters()
    before = copy.deepcopy(net.state_dict())
    other = copied(net)
    assert train(other, other.parameters()) == train(fresh, fresh.parameters())
    assert_same(other, fresh)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_what_is_loaded_in_place_is_trained_from_there():
    plain, flat = network(), network()
    weights = flat.flat_parameters()
    state = {name: value + 0.01 for name, value in plain.state_dict().items() if "weight" in name}
    for net in (plain, flat):
        net.load_state_dict(state, strict=False)
    assert train(flat, weights) == train(plain, plain.parameters())


def test_another_dtype_keeps_the_tensors():
    plain, flat = network(), network()
    weights = flat.flat_parameters()
    train(flat, weights, steps=1)
    train(plain, plain.parameters(), steps=1)
    plain.double()
    flat.double()
    assert all(weight.dtype == torch.float64 for weight in weights)
    assert all(one is other for one, other in zip(weights, flat.flat_parameters(), strict=True))
    assert train(flat, weights) == train(plain, plain.parameters())
    assert_same(plain, flat)


def test_weights_that_were_exchanged_are_refused():
    net = network()
    net.flat_parameters()
    net.load_state_dict(network().state_dict(), assign=True)
    with pytest.raises(RuntimeError, match=r"the weights were exchanged after flatten\(\)"):
        net(IMAGES)


def statistics(net: SearchNetwork) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in net.named_buffers()}


def norms_of(net: SearchNetwork):
    return [cell._candidates.norms for cell in net.cells]


def test_running_statistics_lie_end_to_end_and_are_what_they_were():
    plain, flat = network(), network()
    flat.flat_parameters()
    assert all(norms.flat is not None for norms in norms_of(flat))
    assert all(norms.flat is None for norms in norms_of(plain))
    for net in (plain, flat):
        net(IMAGES)
        net.double()(IMAGES.double())
    assert all(norms.flat is not None for norms in norms_of(flat))
    for name, expected in statistics(plain).items():
        assert torch.equal(statistics(flat)[name], expected), name
        assert expected.dtype in (torch.float64, torch.int64)
    flat.load_state_dict(network().double().state_dict())
    assert all(norms.flat is not None for norms in norms_of(flat))
    flat(IMAGES.double())
    assert torch.equal(flat.cells[0]._ops[0]._ops[1][1].num_batches_tracked, torch.tensor(1))


@pytest.mark.parametrize("name", ["running_mean", "running_var", "num_batches_tracked"])
def test_a_running_statistic_that_was_exchanged_is_still_updated(name):
    plain, flat = network(), network()
    flat.flat_parameters()
    for net in (plain, flat):
        norm = net.cells[1]._ops[1]._ops[4].op[3]
        setattr(norm, name, torch.zeros_like(getattr(norm, name)))
        net(IMAGES)
    for buffer, expected in statistics(plain).items():
        assert torch.equal(statistics(flat)[buffer], expected), buffer


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_have_running_statistics_of_their_own(copied):
    net = network()
    net.flat_parameters()
    net(IMAGES)
    other = copied(net)
    before = statistics(net)
    other(IMAGES)
    net_after, other_after = statistics(net), statistics(other)
    for name, tensor in before.items():
        assert torch.equal(net_after[name], tensor), name
        assert not torch.equal(other_after[name], tensor) or tensor.numel() == 0, name
    other.flat_parameters()
    assert all(norms.flat is not None for norms in norms_of(other))
