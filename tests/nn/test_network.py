"""The supernet: sizes, equations, equality of its backends and memory modes, its checks."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from adarts_ext.genotype import PRIMITIVES, derive
from adarts_ext.nn import SearchNetwork
from adarts_ext.nn.selection import SELECTIONS

METHODS = {
    "adarts": {},
    "pc-darts": {"selection": "first"},
    "darts": {"selection": "all", "edge_normalization": False},
}


def small(**choices) -> SearchNetwork:
    return SearchNetwork(**({"init_channels": 8, "layers": 3, "steps": 2} | choices)).double()


def images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 16, 16, dtype=torch.float64)


def count(tensors) -> int:
    return sum(tensor.numel() for tensor in tensors)


@pytest.mark.parametrize(
    ("method", "num_classes", "parameters"),
    [
        ("adarts", 10, 521_786),
        ("adarts", 100, 544_916),
        ("pc-darts", 10, 299_578),
        ("pc-darts", 100, 322_708),
        ("darts", 10, 1_930_618),
        ("darts", 100, 1_953_748),
    ],
)
def test_parameter_counts_are_the_published_ones(method, num_classes, parameters):
    network = SearchNetwork(num_classes=num_classes, **METHODS[method])
    assert count(network.parameters()) == parameters
    attention = [p for name, p in network.named_parameters() if ".ca." in name]
    assert count(attention) == (222_208 if method == "adarts" else 0)
    assert len(attention) == (2 * 14 * 8 if method == "adarts" else 0)


def restate(network: SearchNetwork, x: Tensor) -> Tensor:
    """The logits, with the softmaxes, the sums over edges and the order of cells written out."""
    s0 = s1 = network.stem(x)
    layers = len(network.cells)
    for layer, cell in enumerate(network.cells):
        reduction = layer in (layers // 3, 2 * layers // 3)
        alphas = network.alphas_reduce if reduction else network.alphas_normal
        betas = network.betas_reduce if reduction else network.betas_normal
        states, first = [cell.preprocess0(s0), cell.preprocess1(s1)], 0
        for _ in range(network.steps):
            total, after = 0, first + len(states)
            for edge, state in enumerate(states, first):
                weights = alphas[edge].exp() / alphas[edge].exp().sum()
                output = cell._ops[edge](state, weights)
                if betas is not None:
                    output = output * betas[edge].exp() / betas[first:after].exp().sum()
                total = total + output
            states.append(total)
            first = after
        s0, s1 = s1, torch.cat(states[2:], 1)
    return network.classifier(s1.mean((2, 3)))


@pytest.mark.parametrize("method", METHODS)
def test_logits_and_gradients_follow_the_equations(method):
    network = small(layers=4, steps=3, **METHODS[method])
    with torch.no_grad():
        for tensor in network.arch_parameters():
            tensor.normal_()
    x = images()
    leaves = [*network.arch_parameters(), *network.parameters()]
    actual, expected = network(x), restate(network, x)
    torch.testing.assert_close(actual, expected)
    gradients = [torch.autograd.grad(y.square().sum(), leaves) for y in (actual, expected)]
    torch.testing.assert_close(*gradients)


def run(network: SearchNetwork, x: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    torch.manual_seed(3)
    logits = network(x)
    leaves = [*network.arch_parameters(), *network.parameters()]
    gradients = torch.autograd.grad(logits.square().sum(), leaves)
    return logits, list(gradients), list(network.buffers())


@pytest.mark.parametrize("selection", list(SELECTIONS))
def test_backend_and_memory_change_no_result(selection):
    first = small(selection=selection, backend="reference")
    x = images()
    expected = run(copy.deepcopy(first), x)
    for backend, memory in (("fused", "store"), ("fused", "recompute"), ("reference", "recompute")):
        other = small(selection=selection, backend=backend, memory=memory)
        other.load_state_dict(first.state_dict())
        torch.testing.assert_close(run(other, x), expected)


def test_normal_and_reduction_cells_use_their_own_parameters_and_edges_their_softmax():
    network = small(selection="all").eval()
    x = images()
    before = network(x)
    with torch.no_grad():
        network.alphas_reduce.add_(3.0)  # softmax does not see a constant
        network.betas_normal[:2].add_(2.0)  # nor does that of one node's edges
        torch.testing.assert_close(network(x), before)
        network.betas_normal[0].add_(2.0)
        assert not torch.allclose(network(x), before)
    kinds = [cell.reduction for cell in SearchNetwork(4, layers=8, steps=1).cells]
    assert kinds == [False, False, True, False, False, True, False, False]


def test_only_attention_makes_evaluation_depend_on_the_batch():
    x = images(4)
    with torch.no_grad():
        for selection, depends in (("attention", True), ("first", False), ("all", False)):
            network = small(selection=selection).eval()
            same = torch.allclose(network(x)[:1], network(x[:1]))
            assert same != depends, selection


def test_genotype_is_derived_from_the_parameters_and_ignores_absent_betas():
    network = SearchNetwork(init_channels=4, layers=3)
    with torch.no_grad():
        for tensor in network.arch_parameters():
            tensor.zero_()
        network.alphas_normal[:, PRIMITIVES.index("sep_conv_5x5")] = 1.0
        network.betas_normal[4] = 1.0
    assert network.genotype() == derive(*network.arch_parameters())
    assert network.genotype().normal[2:4] == (("sep_conv_5x5", 2), ("sep_conv_5x5", 0))
    plain = SearchNetwork(init_channels=4, layers=3, edge_normalization=False)
    assert plain.genotype() == derive(plain.alphas_normal, plain.alphas_reduce)


@pytest.mark.parametrize("size", [(16, 16), (16, 24), (28, 20)])
def test_images_of_any_multiple_of_four_and_channel_count_are_taken(size):
    network = SearchNetwork(8, 5, 3, in_channels=1, steps=2)
    assert network(torch.randn(2, 1, *size)).shape == (2, 5)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.zeros(2, 3, 18, 16), ValueError, r"multiples of 4 .* got shape \(2, 3, 18, 16\)"),
        (torch.zeros(2, 3, 16, 12), ValueError, r"at least 16, got shape \(2, 3, 16, 12\)"),
        (torch.zeros(2, 1, 16, 16), ValueError, r"expected \(N, 3, H, W\), got .*\(2, 1, 16, 16\)"),
        (torch.zeros(3, 16, 16), ValueError, r"expected \(N, 3, H, W\), got shape \(3, 16, 16\)"),
        (torch.zeros(2, 3, 16, 16).byte(), TypeError, r"floating-point images, got torch.uint8"),
    ],
)
def test_images_that_do_not_fit_are_refused(x, error, message):
    with pytest.raises(error, match=f"SearchNetwork: .*{message}"):
        SearchNetwork(init_channels=4, layers=3, steps=1)(x)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"selection": "last"}, "one of attention, first, random, all, .*, got 'last'"),
        ({"backend": "cuda"}, "one of fused, reference, got 'cuda'"),
        ({"memory": "disk"}, "one of store, recompute, got 'disk'"),
        ({"init_channels": 6}, "divisible by proportion 4, got 6"),
        ({"proportion": 0}, "proportion must be at least 1, got 0"),
        ({"layers": 2}, "layers must be at least 3, got 2"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"num_classes": 0}, "num_classes must be at least 1, got 0"),
        ({"in_channels": 0}, "in_channels must be at least 1, got 0"),
    ],
)
def test_impossible_arguments_are_refused(choices, message):
    with pytest.raises(ValueError, match=message):
        SearchNetwork(**choices)


def test_it_runs_under_autocast():
    network = SearchNetwork(init_channels=8, layers=3, steps=2)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(torch.randn(2, 3, 16, 16))
    logits.float().square().sum().backward()
    for tensor in (*network.arch_parameters(), *network.parameters()):
        assert torch.isfinite(tensor.grad).all()


def test_its_description_names_its_choices():
    description = repr(small(memory="recompute", edge_normalization=False))
    assert "selection=attention, edge_normalization=False, backend=fused" in description
    assert "memory=recompute" in description
