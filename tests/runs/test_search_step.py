from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from adarts_ext.nn import OperationWeights, SearchNetwork
from adarts_ext.search import SearchConfig
from adarts_ext.search.build import make_optimizers
from adarts_ext.search.step import (
    architecture_step,
    first_order_gradient,
    hessian_vector_product,
    second_order_gradient,
    weight_step,
)


class SmoothNetwork(nn.Module):
    """Alphas mix two smooth branches: unlike the supernet, it has all its second derivatives."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 5)
        self.second = nn.Linear(5, 5)
        self.norm = nn.BatchNorm1d(5, affine=False)
        self.classifier = nn.Linear(5, 3)
        self.alphas = torch.tensor([[0.3, -0.2], [-0.1, 0.4]]).double().requires_grad_()
        self.betas = torch.tensor([0.2, -0.3]).double().requires_grad_()
        self.double()

    def arch_parameters(self):
        return [self.alphas, self.betas]

    def forward(self, x):
        state = self.first(x)
        for alphas, beta in zip(self.alphas.softmax(-1), self.betas.softmax(-1), strict=True):
            candidates = self.norm(torch.tanh(self.second(state))), torch.sin(state)
            state = state + beta * (alphas[0] * candidates[0] + alphas[1] * candidates[1])
        return self.classifier(state)


def make_batch(seed, count=8):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 6, generator=generator, dtype=torch.float64)
    return images, torch.randint(3, (count,), generator=generator)


TRAIN, VALIDATION = make_batch(1), make_batch(2)


@pytest.fixture
def smooth():
    """A network and its optimizer with momentum, a few steps after the start."""
    network = SmoothNetwork()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.3, momentum=0.9, weight_decay=0.01)
    for seed in (3, 4, 5):
        weight_step(network, optimizer, make_batch(seed), grad_clip=100.0)
    return network, optimizer


@pytest.fixture(params=[("reference", "store"), ("reference", "recompute"), ("fused", "store")])
def supernet(request):
    return make_supernet(*request.param)


def make_supernet(backend="reference", memory="store"):
    torch.manual_seed(0)
    network = SearchNetwork(
        init_channels=4,
        num_classes=3,
        layers=3,
        proportion=2,
        backend=backend,
        memory=memory,
        in_channels=1,
        steps=1,
    )
    return network.double()


def make_images(seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(4, 1, 16, 16, generator=generator, dtype=torch.float64)
    return images, torch.tensor([0, 1, 2, 1])


def loss_of(network, weights, batch):
    """The loss at given weights; BatchNorm's running statistics stay as they are."""
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    return cross_entropy(functional_call(network, {**weights, **buffers}, batch[0]), batch[1])


def exact_second_order(network, optimizer):
    """The gradient through one step of SGD, by differentiating that step, and its two parts."""
    weights = dict(network.named_parameters())
    (group,) = optimizer.param_groups
    gradient = torch.autograd.grad(
        loss_of(network, weights, TRAIN), weights.values(), create_graph=True
    )
    ahead = {
        name: weight
        - group["lr"]
        * (
            part
            + group["weight_decay"] * weight
            + group["momentum"] * optimizer.state[weight]["momentum_buffer"]
        )
        for (name, weight), part in zip(weights.items(), gradient, strict=True)
    }
    loss = loss_of(network, ahead, VALIDATION)
    total = torch.autograd.grad(loss, network.arch_parameters(), retain_graph=True)
    vector = torch.autograd.grad(loss, list(ahead.values()), retain_graph=True)
    product = torch.autograd.grad(gradient, network.arch_parameters(), grad_outputs=vector)
    return loss.detach(), list(total), list(vector), list(product)


def norm_of(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors]).norm().item()


def difference(ones, others):
    return norm_of([one - other for one, other in zip(ones, others, strict=True)])


def state_of(network):
    return copy.deepcopy(network.state_dict())


def assert_same_bits(before, after):
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]), name


def sgd(network):
    return torch.optim.SGD(network.parameters(), lr=0.1)


def test_the_first_order_gradient_is_that_of_the_validation_loss(supernet):
    batch = make_images(1)
    expected_loss = loss_of(make_supernet(), {}, batch)
    plain = make_supernet()
    expected = torch.autograd.grad(
        cross_entropy(plain(batch[0]), batch[1]), plain.arch_parameters()
    )
    loss, gradient = first_order_gradient(supernet, sgd(supernet), batch)
    assert torch.isclose(loss, expected_loss, rtol=1e-13)
    scale = norm_of(expected)
    assert scale > 0
    assert difference(gradient, expected) <= 1e-12 * scale
    assert all(weight.grad is None for weight in supernet.parameters())
    assert all(weight.requires_grad for weight in supernet.parameters())


def test_the_architecture_step_computes_no_gradient_of_the_weights(smooth):
    network, _ = smooth
    computed = []
    for weight in network.parameters():
        weight.register_hook(lambda gradient: computed.append("weight"))
    for parameter in network.arch_parameters():
        parameter.register_hook(lambda gradient: computed.append("arch"))
    first_order_gradient(network, sgd(network), VALIDATION)
    assert computed == ["arch"] * 2


def test_the_weight_step_computes_no_gradient_of_alphas_and_betas(smooth):
    network, optimizer = smooth
    computed = []
    for parameter in network.arch_parameters():
        parameter.register_hook(lambda gradient: computed.append("arch"))
    weight_step(network, optimizer, TRAIN, grad_clip=5.0)
    assert computed == []
    assert all(parameter.grad is None for parameter in network.arch_parameters())
    assert all(parameter.requires_grad for parameter in network.arch_parameters())


@pytest.mark.parametrize("grad_clip", [0.1, 100.0])
def test_the_weight_step_is_one_step_of_clipped_sgd(smooth, grad_clip):
    network, optimizer = smooth
    weights = dict(network.named_parameters())
    loss = loss_of(network, weights, TRAIN)
    gradient = torch.autograd.grad(loss, weights.values())
    scale = min(1.0, grad_clip / norm_of(gradient))
    assert (scale < 1) == (grad_clip == 0.1)
    expected = [
        weight
        - 0.3 * (0.9 * optimizer.state[weight]["momentum_buffer"] + scale * g + 0.01 * weight)
        for weight, g in zip(weights.values(), gradient, strict=True)
    ]
    returned, logits = weight_step(network, optimizer, TRAIN, grad_clip)
    assert returned == loss
    assert logits.shape == (8, 3)
    assert not logits.requires_grad
    assert difference(weights.values(), expected) <= 1e-5 * norm_of(expected)  # clip's epsilon


def test_the_architecture_step_follows_the_given_gradient(smooth):
    network, _ = smooth
    arch = network.arch_parameters()
    before = [parameter.detach().clone() for parameter in arch]
    gradient = [torch.full_like(parameter, 2.0) for parameter in arch]
    architecture_step(torch.optim.SGD(arch, lr=0.5), arch, gradient)
    for parameter, old in zip(arch, before, strict=True):
        assert torch.equal(parameter, old - 1.0)


def test_the_hessian_vector_product_converges_with_the_square_of_the_distance(smooth):
    network, optimizer = smooth
    _, _, vector, exact = exact_second_order(network, optimizer)
    weights = list(network.parameters())
    errors = [
        difference(hessian_vector_product(network, weights, TRAIN, vector, distance), exact)
        for distance in (0.04, 0.02, 0.01)
    ]
    assert errors[0] < 0.1 * norm_of(exact)
    for larger, smaller in itertools.pairwise(errors):
        assert 3.9 < larger / smaller < 4.1


def test_the_hessian_vector_product_of_zero_is_zero(smooth):
    network, _ = smooth
    weights = list(network.parameters())
    product = hessian_vector_product(network, weights, TRAIN, [0 * w for w in weights])
    assert all(torch.equal(part, torch.zeros_like(part)) for part in product)


def test_the_second_order_gradient_is_that_through_the_step_of_sgd(smooth):
    network, optimizer = smooth
    exact_loss, exact, vector, product = exact_second_order(network, optimizer)
    loss, gradient = second_order_gradient(network, optimizer, TRAIN, VALIDATION)
    # The error is that of the central difference at distance 0.01, times the learning rate; it is
    # a quarter of the one at 0.02.
    at_twice_the_distance = hessian_vector_product(
        network, list(network.parameters()), TRAIN, vector, 0.02
    )
    bound = 0.3 * difference(at_twice_the_distance, product) / 3
    assert bound < 1e-3 * norm_of(exact)
    assert difference(gradient, exact) < bound
    assert torch.isclose(loss, exact_loss, rtol=1e-13)
    _, first_order = first_order_gradient(network, optimizer, VALIDATION)
    assert difference(first_order, exact) > 100 * bound  # what leaving the step out would give


def test_the_second_order_gradient_looks_at_the_weights_of_the_next_step(smooth):
    network, optimizer = smooth
    loss, _ = second_order_gradient(network, optimizer, TRAIN, VALIDATION)
    weight_step(network, optimizer, TRAIN, grad_clip=1e9)
    expected = loss_of(network, dict(network.named_parameters()), VALIDATION)
    assert torch.isclose(loss, expected, rtol=1e-13)


def test_the_second_order_gradient_needs_no_momentum_yet():
    network = SmoothNetwork()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    loss, _ = second_order_gradient(network, optimizer, TRAIN, VALIDATION)
    weight_step(network, optimizer, TRAIN, grad_clip=1e9)
    expected = loss_of(network, dict(network.named_parameters()), VALIDATION)
    assert torch.isclose(loss, expected, rtol=1e-13)


def test_the_second_order_gradient_leaves_the_network_bit_for_bit_as_it_was(supernet):
    optimizer = torch.optim.SGD(supernet.parameters(), lr=0.1, momentum=0.9)
    weight_step(supernet, optimizer, make_images(1), grad_clip=5.0)
    before, momentum = state_of(supernet), copy.deepcopy(optimizer.state_dict())
    second_order_gradient(supernet, optimizer, make_images(2), make_images(3))
    assert_same_bits(before, state_of(supernet))
    after = optimizer.state_dict()
    for key, entry in momentum["state"].items():
        assert torch.equal(entry["momentum_buffer"], after["state"][key]["momentum_buffer"])
    leaves = [*supernet.parameters(), *supernet.arch_parameters()]
    assert all(leaf.requires_grad for leaf in leaves)


def test_the_second_order_gradient_is_the_same_when_the_network_recomputes():
    gradients = []
    for memory in ("store", "recompute"):
        network = make_supernet(memory=memory)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
        weight_step(network, optimizer, make_images(1), grad_clip=5.0)
        batches = make_images(2), make_images(3)
        gradients.append(second_order_gradient(network, optimizer, *batches)[1])
    scale = norm_of(gradients[0])
    assert scale > 0
    assert difference(*gradients) <= 1e-9 * scale


@pytest.mark.parametrize("failing_pass", [1, 2, 3, 4])
def test_a_failure_on_the_way_leaves_the_network_as_it_was(failing_pass, monkeypatch):
    network = make_supernet("fused")
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    weight_step(network, optimizer, make_images(1), grad_clip=5.0)
    before = state_of(network)
    forward, passes = network.forward, []

    def interrupted(x):
        passes.append(1)
        logits = forward(x)
        if len(passes) == failing_pass:
            raise KeyboardInterrupt
        return logits

    monkeypatch.setattr(network, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        second_order_gradient(network, optimizer, make_images(2), make_images(3))
    assert_same_bits(before, state_of(network))
    leaves = [*network.parameters(), *network.arch_parameters()]
    assert all(leaf.requires_grad for leaf in leaves)


def test_the_first_order_pass_counts_in_the_running_statistics_as_in_darts(smooth):
    network, _ = smooth
    before = network.norm.running_mean.clone()
    first_order_gradient(network, sgd(network), VALIDATION)
    assert not torch.equal(network.norm.running_mean, before)


def test_a_step_moves_nothing_of_a_candidate_that_is_left_out():
    network = SearchNetwork(4, 3, 3, steps=1, in_channels=1, proportion=2, skip_zeros=True)
    config = SearchConfig(momentum=0.9, weight_decay=0.1)
    optimizer, _ = make_optimizers(config, network.flat_parameters(), network.arch_parameters())
    batch = torch.randn(4, 1, 16, 16), torch.arange(4) % 3
    moved = []
    for drawn in (4, 7, 4):  # sep_conv_3x3, dil_conv_5x5
        before = copy.deepcopy(network.state_dict())
        weights = torch.eye(8)[drawn].expand(2, 8)
        weight_step(network, optimizer, batch, 5.0, OperationWeights(weights, weights))
        after = network.state_dict()
        names = {name for name in after if not torch.equal(before[name], after[name])}
        moved.append({name.split("_ops.")[2][0] for name in names if name.count("_ops.") == 2})
    assert moved == [{"4"}, {"7"}, {"4"}]
