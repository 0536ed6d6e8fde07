"""Accelerated networks under what training puts around them."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator

import pytest
import torch
from acceleration_case import STYLES, convert, images, make, make_accelerated, results, scramble
from comparison import assert_exact
from old_code import darts
from torch import Tensor, nn

from adarts_ext import accelerate
from adarts_ext.compat import acceleration_report

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("recognized_once")]

DOUBLE = torch.float64
TARGET = torch.tensor([0, 3, 1])
CLOSE = {"rtol": 1e-7, "atol": 1e-9}


def gradients(loss: Tensor, tensors) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(tensors)))


def unrolled_step(network: nn.Module, style: str, rate: float = 0.1) -> list[Tensor]:
    """The gradient of the architecture parameters in DARTS's second order.

    A new network takes a step of the weights on training images; the gradient of its loss on
    validation images goes back through that step by a finite difference of two gradients.
    """
    train, valid = images(style, 3, DOUBLE), images(style, 3, DOUBLE).flip(0) + 0.1
    weights = list(network.parameters())
    steps = gradients(network._loss(train, TARGET), weights)
    moved = network.state_dict() | {
        name: (weight - rate * step).detach()
        for (name, weight), step in zip(network.named_parameters(), steps, strict=True)
    }
    unrolled = convert(network.new(), DOUBLE)
    unrolled.load_state_dict(moved)
    unrolled._loss(valid, TARGET).backward()
    direction = [weight.grad for weight in unrolled.parameters()]
    size = 1e-2 / torch.cat([part.flatten() for part in direction]).norm()
    differences = []
    for scale in (size, -2 * size, size):
        with torch.no_grad():
            for weight, part in zip(weights, direction, strict=True):
                weight.data.add_(part, alpha=float(scale))
        arch = network.arch_parameters()
        differences.append(gradients(network._loss(train, TARGET), arch))
    return [
        tensor.grad - rate * (up - down) / (2 * size)
        for tensor, up, down in zip(
            unrolled.arch_parameters(), differences[0], differences[1], strict=True
        )
    ]


@pytest.mark.parametrize("style", STYLES)
def test_a_second_order_step(style):
    plain, network = make(style, dtype=DOUBLE), make_accelerated(style, dtype=DOUBLE)
    expected, actual = (unrolled_step(each, style) for each in (plain, network))
    for mine, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(mine, theirs, **CLOSE)
    assert acceleration_report(network).levels() == {"cell": 3}
    assert_exact(
        results(network, images(style, dtype=DOUBLE)), results(plain, images(style, dtype=DOUBLE))
    )


@pytest.fixture
def group(tmp_path) -> Iterator[None]:
    """A process group of one process."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("wrapped_first", [True, False])
@pytest.mark.parametrize("style", ["darts", "adarts"])
@pytest.mark.usefixtures("group")
def test_distributed_data_parallel(style, wrapped_first):
    plain, network = make(style, dtype=DOUBLE), make(style, dtype=DOUBLE)
    if wrapped_first:
        model = accelerate(nn.parallel.DistributedDataParallel(network))
    else:
        model = nn.parallel.DistributedDataParallel(accelerate(network))
    for _ in range(2):
        for each, own in ((plain, plain), (model, network)):
            each.zero_grad()
            own._criterion(each(images(style, dtype=DOUBLE)), TARGET).backward()
    for mine, theirs in zip(network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, **CLOSE)
    torch.testing.assert_close(network.state_dict(), plain.state_dict())
    assert acceleration_report(model).levels() == {"cell": 3}


@pytest.mark.usefixtures("group")
def test_processes_that_would_part_are_warned_of(monkeypatch):
    """Architecture parameters outside of parameters() are averaged by nobody."""
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda *_: 2)
    with pytest.warns(UserWarning, match=r"arch_parameters\(\) of Network are no parameters"):
        accelerate(make("darts"))
    network = make("darts")
    for i, alphas in enumerate(network.arch_parameters()):
        network.register_parameter(f"alphas_{i}", nn.Parameter(alphas.detach()))
    own = [network.alphas_0, network.alphas_1]
    monkeypatch.setattr(network, "arch_parameters", lambda: own)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        accelerate(network)


def replicate(network: nn.Module) -> nn.Module:
    """A replica as DataParallel makes one on each device: its parameters are no leaves."""
    copies = {module: module._replicate_for_data_parallel() for module in network.modules()}
    for module, replica in copies.items():
        replica._former_parameters = {}
        for name, child in module._modules.items():
            replica._modules[name] = copies.get(child)
        for name, parameter in module._parameters.items():
            if parameter is None:
                replica._parameters[name] = None
            else:
                setattr(replica, name, parameter.clone())
                replica._former_parameters[name] = getattr(replica, name)
        for name, buffer in module._buffers.items():
            replica._buffers[name] = None if buffer is None else buffer.clone()
    return copies[network]


@pytest.mark.parametrize("style", STYLES)
def test_replicas_of_data_parallel(style):
    plain, network = make(style, dtype=DOUBLE), make_accelerated(style, dtype=DOUBLE)
    state = copy.deepcopy(network.state_dict())
    x = images(style, dtype=DOUBLE)
    replica = replicate(network)
    assert acceleration_report(replica).levels() == {"cell": 3}
    expected, logits = plain(x), replica(x)
    torch.testing.assert_close(logits, expected, **CLOSE)
    both = [[*each.parameters(), *each.arch_parameters()] for each in (network, plain)]
    actual = gradients(logits.square().sum(), both[0])
    for mine, theirs in zip(actual, gradients(expected.square().sum(), both[1]), strict=True):
        torch.testing.assert_close(mine, theirs, **CLOSE)
    now = network.state_dict()
    assert all(torch.equal(now[name], value) for name, value in state.items())
    buffers = zip(replica.named_buffers(), plain.buffers(), strict=True)
    assert all(torch.allclose(mine, theirs) for (_, mine), theirs in buffers)


def add_bias(network: nn.Module) -> None:
    torch.manual_seed(1)
    convolution = network.cells[1]._ops[0]._ops[4].op[1]
    convolution.bias = nn.Parameter(torch.randn(convolution.out_channels, dtype=DOUBLE))


def add_hook(network: nn.Module) -> None:
    network.cells[1]._ops[0]._ops[4].register_forward_hook(lambda module, inputs, y: 2 * y + 1)


def change_layer(network: nn.Module) -> None:
    network.cells[1]._ops[0]._ops[2][0].count_include_pad = True


@pytest.mark.parametrize("change", [add_bias, add_hook, change_layer])
def test_replicas_of_a_changed_network(change):
    plain, network = make("darts", dtype=DOUBLE), make_accelerated("darts", dtype=DOUBLE)
    for each in (plain, network):
        change(each)
    x = images("darts", dtype=DOUBLE)
    torch.testing.assert_close(replicate(network)(x), plain(x), **CLOSE)


def parts(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Logits, and the gradients of weights and of architecture parameters, each as one vector."""
    found: dict[str, list[Tensor]] = {"logits": [], "arch": [], "weights": []}
    for name, value in results(network, x).items():
        if name == "logits" or name.startswith("gradient"):
            kind = "logits" if name == "logits" else "arch" if "arch." in name else "weights"
            found[kind].append(value.double().flatten())
    return {kind: torch.cat(values) for kind, values in found.items()}


@pytest.mark.parametrize("style", ["darts", "pc_darts", "pc_darts_imagenet"])
def test_autocast_to_bfloat16(style):
    outputs, squares = [], {kind: [0.0, 0.0] for kind in ("logits", "arch", "weights")}
    for seed in range(2):
        plain = make(style, seed)
        network, exact = make_accelerated(style, seed), copy.deepcopy(plain)
        truth = parts(convert(exact, DOUBLE), images(style, 5, DOUBLE))
        for place, each in enumerate((network, plain)):
            cell = list(getattr(each, "cells", None) or each.blocks)[1]
            cell.register_forward_hook(lambda cell, inputs, y: outputs.append(y.dtype))
            with torch.autocast("cpu", torch.bfloat16):
                found = parts(each, images(style, 5))
            for kind, value in found.items():
                squares[kind][place] += float((value - truth[kind]).square().sum())
    assert outputs == [torch.bfloat16] * 4
    for kind, (mine, theirs) in squares.items():
        assert mine**0.5 <= 2 * theirs**0.5, kind


@pytest.mark.parametrize("style", ["darts", "adarts"])
def test_torch_compile(style):
    network, expected = (make_accelerated(style, layers=1, steps=1) for _ in range(2))
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    x = images(style)
    logits, eager = compiled(x), expected(x)
    torch.testing.assert_close(logits, eager)
    for each, output in ((network, logits), (expected, eager)):
        output.square().sum().backward()
        assert acceleration_report(each).levels() == {"cell": 1}
    for mine, theirs in zip(network.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)
    torch.testing.assert_close(network.state_dict(), expected.state_dict())


def kept_bytes(network: nn.Module, x: Tensor) -> int:
    """Bytes that a forward pass keeps for backward, but parameters and the images."""
    known = {tensor.untyped_storage().data_ptr() for tensor in (*network.parameters(), x)}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = network(x).sum()  # holds all that is kept
    assert loss.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize("style", ["darts", "adarts"])
def test_less_memory_is_kept_for_backward(style):
    x = images(style, batch=16)
    plain = kept_bytes(make(style, layers=1, steps=3), x)
    store, recompute = (
        kept_bytes(make_accelerated(style, layers=1, steps=3, memory=memory), x)
        for memory in ("store", "recompute")
    )
    assert store < plain / 4
    assert recompute < 0.7 * store


def test_a_network_is_freed_when_it_is_last_used():
    class Noted(darts.Network):
        freed = 0

        def __del__(self):
            Noted.freed += 1

    network = accelerate(scramble(Noted(4, 4, 2, nn.CrossEntropyLoss(), 1, 1)))
    network(images("darts")).sum().backward()
    del network
    assert Noted.freed == 1
