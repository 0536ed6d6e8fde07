"""What candidates weigh: made of the alphas by an object, or given to a pass."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from adarts_ext.nn import OperationWeights, SearchNetwork

EDGES = 5  # of a cell with two nodes


def make(**options) -> SearchNetwork:
    torch.manual_seed(0)
    network = SearchNetwork(4, 3, 6, proportion=2, steps=2, in_channels=1, **options).double()
    with torch.no_grad():  # so that the candidates differ
        for alphas in network.arch_parameters():
            alphas.mul_(500)
    return network


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 1, 16, 16, generator=generator, dtype=torch.float64)


def halved(alphas: torch.Tensor) -> torch.Tensor:
    return alphas.softmax(-1) / 2


@pytest.mark.parametrize("backend", ["fused", "reference"])
def test_they_are_made_by_the_object_that_is_given(backend, images):
    network, ours = make(backend=backend), make(backend=backend, weights=halved)
    normal, reduce = network.operation_weights()
    assert torch.equal(normal, network.alphas_normal.softmax(-1))
    assert torch.equal(ours.operation_weights().reduce, reduce / 2)
    logits = network(images)
    assert torch.equal(network(images, network.operation_weights()), logits)
    half = network(images, OperationWeights(normal / 2, reduce / 2))
    assert torch.equal(ours(images), half)
    assert not torch.allclose(half, logits)


@pytest.mark.parametrize("backend", ["fused", "reference"])
def test_a_tensor_a_cell_has_a_gradient_a_cell(backend, images):
    network = make(backend=backend)
    assert [cell.reduction for cell in network.cells] == [False, False, True, False, True, False]
    network(images).sum().backward()
    shared = [one.grad for one in (network.alphas_normal, network.alphas_reduce)]
    network.alphas_normal.grad = network.alphas_reduce.grad = None
    normal, reduce = (
        one.expand(cells, EDGES, 8).clone()
        for one, cells in zip(network.operation_weights(), (4, 2), strict=True)
    )
    normal.retain_grad()
    network(images, OperationWeights(normal, reduce)).sum().backward()
    for alphas, expected in zip(
        (network.alphas_normal, network.alphas_reduce), shared, strict=True
    ):
        torch.testing.assert_close(alphas.grad, expected, rtol=1e-10, atol=1e-12)
    assert len({tuple(one.flatten().tolist()) for one in normal.grad}) == 4


def test_each_cell_has_its_own(images):
    network = make()
    normal, reduce = network.operation_weights().detach()
    logits = []
    for cell in range(4):
        several = normal.repeat(4, 1, 1)
        several[cell] = several[cell].flip(-1)
        logits.append(network(images, OperationWeights(several, reduce)))
    plain = network(images)
    assert all(not torch.allclose(one, plain) for one in logits)
    assert len({tuple(one.flatten().tolist()) for one in logits}) == 4


def test_copies_and_state_dicts_are_as_before(images):
    network = make(weights=halved)
    expected = network(images)
    assert torch.equal(copy.deepcopy(network)(images), expected)
    assert torch.equal(pickle.loads(pickle.dumps(network))(images), expected)
    assert network.state_dict().keys() == make().state_dict().keys()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((torch.ones(3, EDGES, 8), torch.ones(EDGES, 8)), r"weights\.normal: .* the 4 normal"),
        ((torch.ones(EDGES, 8), torch.ones(8)), r"weights\.reduce: expected .* got shape \(8,\)"),
        ((torch.ones(EDGES, 7), torch.ones(EDGES, 8)), r"expected alphas \(5, 8\), got shape"),
    ],
)
def test_weights_that_do_not_fit_are_one_clear_error(weights, message, images):
    with pytest.raises(ValueError, match=message):
        make()(images, OperationWeights(*weights))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (OperationWeights([1.0], torch.ones(EDGES, 8)), r"weights\.normal.*list"),
        (torch.ones(EDGES, 8), "weights: expected OperationWeights or None, got Tensor"),
    ],
)
def test_weights_of_another_kind_are_one_clear_error(weights, message, images):
    with pytest.raises(TypeError, match=message):
        make()(images, weights)
