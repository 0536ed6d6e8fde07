"""Networks of old code to try :func:`adarts_ext.accelerate` on, and what they compute."""

from __future__ import annotations

import torch
from old_code import adarts, darts, pc_darts, pc_darts_imagenet
from torch import Tensor, nn

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
    torch.manual_seed(seed)
    criterion = nn.CrossEntropyLoss()
    return scramble(STYLES[style](CHANNELS[style], 4, layers, criterion, steps, steps), dtype)


def scramble(network: nn.Module, dtype=torch.float32) -> nn.Module:
    """Draw architecture parameters and running statistics; convert all to ``dtype``."""
    with torch.no_grad():
        for tensor in network.arch_parameters():
            tensor.normal_()
        for name, buffer in network.named_buffers():
            if "running" in name:
                buffer.uniform_(0.5, 1.5)
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
