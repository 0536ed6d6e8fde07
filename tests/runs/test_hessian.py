"""The largest eigenvalue of the validation loss's Hessian in alphas and betas."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from adarts_ext.nn import SearchNetwork
from adarts_ext.runs.precision import set_precision
from adarts_ext.search.hessian import _largest_eigenvalue, largest_hessian_eigenvalue
from adarts_ext.search.step import weight_step


def make_network(backend, selection):
    torch.manual_seed(0)
    sizes = {"init_channels": 4, "num_classes": 3, "layers": 3, "steps": 1, "in_channels": 1}
    network = SearchNetwork(backend=backend, selection=selection, proportion=2, **sizes)
    with torch.no_grad():  # as a search leaves them, not all alike
        generator = torch.Generator().manual_seed(1)
        for parameter in network.arch_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return network.double()


def make_batch(seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(8, 1, 16, 16, generator=generator, dtype=torch.float64)
    return images, torch.arange(8) % 3


def make(backend, selection):
    network = make_network(backend, selection)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for seed in range(3):
        weight_step(network, optimizer, make_batch(seed), grad_clip=5.0)
    return network


def exact_eigenvalues(network, batch):
    """Those of the Hessian, differentiated twice."""
    arch = network.arch_parameters()
    loss = cross_entropy(network(batch[0]), batch[1])
    gradient = torch.autograd.grad(loss, arch, create_graph=True)
    gradient = torch.cat([part.flatten() for part in gradient])
    each = torch.eye(len(gradient), dtype=gradient.dtype)
    rows = torch.autograd.grad(gradient, arch, each, is_grads_batched=True)
    return torch.linalg.eigvalsh(torch.cat([part.flatten(1) for part in rows], 1))


@pytest.mark.parametrize(
    ("selection", "backends"),
    [("attention", ("reference", "fused")), ("first", ("fused",)), ("all", ("fused",))],
)
def test_it_is_that_of_the_exact_hessian(selection, backends):
    batch = make_batch(9)
    exact = exact_eigenvalues(make("reference", selection), batch)
    assert exact[0] < -exact[-1] / 10  # there are negative ones
    for backend in backends:
        network = make(backend, selection)
        found = largest_hessian_eigenvalue(network, batch, tolerance=1e-6, most_products=40)
        assert found == pytest.approx(exact[-1].item(), rel=1e-4)
    found = largest_hessian_eigenvalue(network, batch)
    assert found == pytest.approx(exact[-1].item(), rel=0.02)


def test_it_is_the_largest_and_not_the_largest_in_size():
    matrix = torch.diag(torch.tensor([-9.0, -8.0, 0.0, 1.0, 2.0]).double())
    assert _largest_eigenvalue(lambda vector: matrix @ vector, 5, 1e-9, 5) == pytest.approx(2)
    assert _largest_eigenvalue(lambda vector: -matrix @ vector, 5, 1e-9, 5) == pytest.approx(9)


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_a_matrix_that_changes_no_direction_ends_at_once(value):
    calls = []

    def multiply(vector):
        calls.append(vector)
        return value * vector

    assert _largest_eigenvalue(multiply, 5, 0.01, 20) == pytest.approx(value)
    assert len(calls) == 1


def test_it_does_not_hang_on_the_precision_of_the_network():
    network, twin = make("fused", "first").float(), make("fused", "first").float()
    set_precision(twin, "bf16")
    batch = make_batch(9)
    expected = largest_hessian_eigenvalue(network, batch)
    assert largest_hessian_eigenvalue(twin, (batch[0].float(), batch[1])) == pytest.approx(
        expected, rel=1e-3
    )
    assert largest_hessian_eigenvalue(network.eval(), batch) == expected


def test_the_network_and_the_generators_stay_as_they_are():
    network = make("fused", "attention").float()
    network.flat_parameters()  # as a search has it
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    largest_hessian_eigenvalue(network, make_batch(9), most_products=2)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert torch.equal(torch.get_rng_state(), state)
    assert all(weight.requires_grad for weight in network.parameters())
