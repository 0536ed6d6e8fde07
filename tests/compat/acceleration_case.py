"""Networks of old code to try :func:`adarts_ext.accelerate` on, and what they compute."""

from __future__ import annotations

import copy
import functools
import warnings

import torch
from comparison import assert_exact
from fast_copy import Original
from old_code import adarts, darts, pc_darts, pc_darts_imagenet
from redraw import draw_running_statistics
from torch import Tensor, nn

from adarts_ext import accelerate
from adarts_ext.compat import AccelerationReport, acceleration_report

STYLES = {
    "darts": darts.Network,
    "pc_darts": pc_darts.Network,
    "pc_darts_imagenet": pc_darts_imagenet.Supernet,
    "adarts": adarts.Network,
}
CHANNELS = {"darts": 4, "pc_darts": 8, "pc_darts_imagenet": 4, "adarts": 8}
SIZES = {"darts": 16, "pc_darts": 16, "pc_darts_imagenet": 64, "adarts": 16}


def make(style: str, seed: int = 0, dtype=torch.float32, layers: int = 3, steps: int = 2):
    """A network with architecture parameters and running statistics that matter."""
    return _copied(_made(style, seed, dtype, layers, steps))


def make_accelerated(
    style: str, seed: int = 0, dtype=torch.float32, layers: int = 3, steps: int = 2, memory="store"
):
    """The network of :func:`make`, accelerated: a copy, for it takes a second to recognise one."""
    return _copied(_accelerated(style, seed, dtype, layers, steps, memory))


def _copied(made: tuple[Original, Tensor]) -> nn.Module:
    """A copy of a network, and the random numbers that follow when it has just been made."""
    network, state = made
    torch.set_rng_state(state)
    return network.copy()


@functools.lru_cache(maxsize=16)
def _made(style, seed, dtype, layers, steps) -> tuple[Original, Tensor]:
    torch.manual_seed(seed)
    criterion = nn.CrossEntropyLoss()
    network = STYLES[style](CHANNELS[style], 4, layers, criterion, steps, steps)
    scramble(network, dtype, SIZES[style])
    return Original(network), torch.get_rng_state()


@functools.lru_cache(maxsize=16)
def _accelerated(style, seed, dtype, layers, steps, memory) -> tuple[Original, Tensor]:
    network, state = _made(style, seed, dtype, layers, steps)
    return Original(accelerate(network.copy(), memory)), state


def scramble(network: nn.Module, dtype=torch.float32, size: int = 16) -> nn.Module:
    """Draw architecture parameters and running statistics; convert all to ``dtype``."""
    with torch.no_grad():
        for tensor in network.arch_parameters():
            tensor.normal_()
    draw_running_statistics(network, torch.randn(5, 3, size, size))
    return convert(network, dtype)


def convert(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Convert a network with its architecture parameters, which are no parameters to torch."""
    for tensor in network.arch_parameters():
        tensor.data = tensor.data.to(dtype)
    return network.to(dtype)


def images(style: str, batch: int = 3, dtype=torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    size = SIZES.get(style, 16)
    return torch.randn(batch, 3, size, size, generator=generator, dtype=dtype)


def arch_names(network: nn.Module) -> dict[str, Tensor]:
    """The architecture parameters, named."""
    return {f"arch.{i}": tensor for i, tensor in enumerate(network.arch_parameters())}


def results(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Logits, the gradient of everything, and what the buffers are then."""
    named = {name: p for name, p in network.named_parameters() if p.requires_grad}
    named |= arch_names(network)
    logits = network(x)
    direction = torch.linspace(-1, 1, logits.numel()).reshape(logits.shape).to(logits.dtype)
    gradients = torch.autograd.grad(
        (logits * direction).sum(), list(named.values()), materialize_grads=True
    )
    found = {f"gradient of {name}": g for name, g in zip(named, gradients, strict=True)}
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    return {"logits": logits.detach()} | found | buffers


def cells(network: nn.Module) -> nn.ModuleList:
    return getattr(network, "cells", None) or network.blocks


def build(base, mixed_op=None, cell=None, multiplier: int = 2, steps: int = 2) -> nn.Module:
    """A network of ``base``'s code with another mixed operation or cell, in float64."""
    torch.manual_seed(0)
    cell = cell or type("Cell", (base.Cell,), {"mixed_op": mixed_op or base.MixedOp})
    network = type("Network", (base.Network,), {"cell": cell})
    channels = 4 if base is darts else 8
    made = network(channels, 4, 2, nn.CrossEntropyLoss(), steps, multiplier)
    return scramble(made, torch.float64)


def accelerated(network: nn.Module) -> AccelerationReport:
    """Accelerate a copy, see that it computes the same, and give its report."""
    ours = copy.deepcopy(network)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "accelerate: nothing was accelerated")
        accelerate(ours)
    report = acceleration_report(ours)
    x = images("", dtype=torch.float64)
    expected, actual = results(network, x), results(ours, x)
    if set(report.levels()) == {"untouched"}:
        assert all(torch.equal(actual[name], value) for name, value in expected.items())
    else:
        assert_exact(actual, expected)
    return report
