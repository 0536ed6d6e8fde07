"""Whole supernets on the fused kernels, as exact as plain torch in the same precision.

Logits, all gradients and all buffers are compared with plain torch in float64. Where a near-tie of
scores would decide which channels an edge selects, no two precisions need agree: all networks get
the choice of the float64 one.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from comparison import Errors, assert_exact
from pinned_selection import pin_selection
from redraw import draw_running_statistics, draw_weights
from torch import Tensor

from adarts_ext import reference
from adarts_ext.nn import SearchNetwork

pytestmark = pytest.mark.slow

SMALL = {"init_channels": 8, "layers": 3, "steps": 2, "num_classes": 4}
CASES = {
    "attention": {"batch": 5},
    "first": {"selection": "first", "batch": 3, "size": (16, 24)},
    "random": {"selection": "random", "batch": 17},
    "all": {"selection": "all", "edge_normalization": False, "batch": 3},
    "first-unshuffled": {"selection": "first-unshuffled", "batch": 5},
    "attention-random": {"selection": "attention-random", "batch": 5},
    "attention-all": {"selection": "attention-all", "batch": 3},
    "eca": {"attention": "eca", "batch": 5},
    "eca, all": {"attention": "eca", "selection": "attention-all", "batch": 3},
    "K = 1": {"proportion": 1, "init_channels": 4, "batch": 2},
    "K = 2": {"proportion": 2, "batch": 1, "size": (32, 16)},
    "K = 8": {"proportion": 8, "batch": 1, "size": (64, 64)},
    "four nodes": {"steps": 4, "batch": 2},
}
PARTS = {
    "logits": "network",
    "alphas|betas": "architecture parameters",
    "stem": "stem",
    "preprocess": "preprocessings",
    r"\.ca\.": "attention",
    r"_ops\.\d+\._ops": "candidates",
    "classifier": "classifier",
}


@contextmanager
def pinned(chosen: list[Tensor] | None) -> Iterator[list[Tensor]]:
    """Let all networks select these channels, edge by edge; or record what one selects."""
    record = [] if chosen is None else list(chosen)
    left = iter(record)
    with pytest.MonkeyPatch.context() as patch:
        if chosen is None:
            select = reference.select_channels

            def recording(scores: Tensor, k: int) -> Tensor:
                record.append(select(scores, k))
                return record[-1]

            patch.setattr(reference, "select_channels", recording)
        else:
            patch.setattr(reference, "select_channels", lambda scores, k: next(left))
            pin_selection(patch, left)
        yield record


def draw(network: SearchNetwork, seed: int, images: Tensor) -> None:
    """Give a network weights, architecture parameters and, to evaluate with, running statistics."""
    torch.manual_seed(seed)
    draw_weights(network)
    with torch.no_grad():
        for tensor in network.arch_parameters():
            tensor.normal_()
    if not network.training:
        draw_running_statistics(network, images)


def make(training: bool, images: Tensor, *own: dict[str, str], **choices) -> list[SearchNetwork]:
    """Make networks of the same state; each has a choice of its own."""
    networks = [SearchNetwork(**(SMALL | choices | one)).train(training) for one in own]
    draw(networks[0], 0, images)
    for network in networks[1:]:
        network.load_state_dict(networks[0].state_dict())
    return networks


def run(network: SearchNetwork, images: Tensor, chosen: list[Tensor] | None):
    """Give all results by name, and the channels that were selected."""
    named = {
        **dict(network.named_parameters()),
        **network._named_arch_parameters(),
    }
    torch.manual_seed(5)
    with pinned(chosen) as record:
        logits = network(images)
        loss = (logits * torch.linspace(-1, 1, logits.numel()).reshape(logits.shape)).sum()
        gradients = torch.autograd.grad(loss, list(named.values()))
    results = {"logits": logits.detach(), **dict(network.named_buffers())}
    return results | {f"gradient of {k}": g for k, g in zip(named, gradients, strict=True)}, record


def kind_of(name: str) -> str:
    """What a result is of: small tensors are judged with their like."""
    (part,) = [part for pattern, part in PARTS.items() if re.search(pattern, name)]
    what = "gradient" if name.startswith("gradient") else name.split(".")[-1]
    return f"{what} of {part}"


def draw_images(seed: int, batch: int, size: tuple[int, int] = (16, 16)) -> Tensor:
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(seed))


def assert_exact_over_draws(training: bool, batch: int, size=(16, 16), **choices) -> None:
    """Assert that a fused network is as exact as a plain one in the same precision."""
    errors = Errors()
    fused, plain, exact = (
        SearchNetwork(**(SMALL | choices), backend=backend).train(training)
        for backend in ("fused", "reference", "reference")
    )
    exact.double()
    for seed in errors.until_clear():
        images = draw_images(seed, batch, size)
        draw(plain, seed, images)
        for network in (fused, exact):
            network.load_state_dict(plain.state_dict())
        truth, chosen = run(exact, images.double(), None)
        plain_results, _ = run(plain, images, chosen)
        actual, _ = run(fused, images, chosen)
        for name, expected in truth.items():
            if name.endswith("num_batches_tracked"):
                assert torch.equal(actual[name], expected)
            else:
                errors.add(kind_of(name), actual[name], plain_results[name], expected)
        assert truth["gradient of stem.0.weight"].any(), "nothing reaches the stem"
    errors.assert_at_most_twice()


@pytest.mark.parametrize(
    ("name", "training"),
    [*((name, True) for name in CASES), *((name, False) for name in ("attention", "all", "K = 2"))],
)
def test_as_exact_as_plain_torch(name, training):
    assert_exact_over_draws(training, **CASES[name])


def test_the_default_network_is_as_exact_as_plain_torch():
    choices = {"init_channels": 16, "layers": 8, "steps": 4, "num_classes": 10}
    assert_exact_over_draws(True, batch=2, **choices)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_recomputing_changes_no_bit(name, training):
    choices = dict(CASES[name])
    images = draw_images(0, choices.pop("batch"), choices.pop("size", (16, 16)))
    storing, recomputing = make(training, images, {}, {"memory": "recompute"}, **choices)
    expected, _ = run(storing, images, None)
    actual, _ = run(recomputing, images, None)
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[name], value) for name, value in expected.items())


@pytest.mark.parametrize("name", CASES)
def test_in_double_precision_the_difference_is_rounding(name):
    choices = dict(CASES[name])
    batch, size = choices.pop("batch"), choices.pop("size", (16, 16))
    images = draw_images(0, batch, size)
    networks = make(True, images, {"backend": "fused"}, {"backend": "reference"}, **choices)
    fused, plain = (network.double() for network in networks)
    images = images.double()
    expected, chosen = run(plain, images, None)
    actual, _ = run(fused, images, chosen)
    assert_exact(actual, expected)


def test_torch_compile_changes_nothing():
    images = draw_images(0, 2)
    (network,) = make(True, images, {}, steps=1)
    compiled = copy.deepcopy(network)
    logits = torch.compile(compiled, backend="aot_eager", fullgraph=True)(images)
    expected = network(images)
    torch.testing.assert_close(logits, expected)
    for each, output in ((compiled, logits), (network, expected)):
        output.square().sum().backward()
        assert all(cell.kernels() == "fused cell" for cell in each.cells)
    pairs = [*zip(compiled.parameters(), network.parameters(), strict=True)]
    pairs += zip(compiled.arch_parameters(), network.arch_parameters(), strict=True)
    for one, two in pairs:
        torch.testing.assert_close(one.grad, two.grad)
    torch.testing.assert_close(compiled.state_dict(), network.state_dict())
