"""One whole search step of the supernet, in every way it can be run.

A step trains alphas and betas on one batch (Adam) and then the weights on another (SGD, clipped),
as in ADARTS (arXiv 2208.00791). The plain arms run the network in plain torch.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_

from adarts_ext.nn import SearchNetwork
from adarts_ext.search import SearchConfig
from adarts_ext.search.step import Batch, architecture_step, first_order_gradient, weight_step

BATCHES = 4  # of each half, used in turn
CLASSES = 10


@dataclass(frozen=True)
class Arm:
    """A way of running a search step."""

    backend: str = "reference"
    memory: str = "store"
    channels_last: bool = False
    frozen: bool = False  # each half computes only the gradients that it uses
    bfloat16: bool = False  # autocast


#: ``plain`` is the step as the method's authors released it: images in NCHW, and both halves
#: compute the gradients of weights, alphas and betas, whichever they use.
ARMS = {
    "plain": Arm(),
    "channels_last": Arm(channels_last=True),
    "frozen": Arm(frozen=True),
    "frozen, channels_last": Arm(channels_last=True, frozen=True),
    "ours, store": Arm("fused", frozen=True),
    "ours, recompute": Arm("fused", "recompute", frozen=True),
    "ours, bfloat16": Arm("fused", frozen=True, bfloat16=True),
}
PLAIN = [name for name, arm in ARMS.items() if arm.backend == "reference"]


@dataclass(frozen=True)
class Size:
    """How large the network and its batches are; by default those of the published search."""

    batch: int = 64
    channels: int = 16
    layers: int = 8
    image: int = 32


def add_size_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that make a trial small."""
    default = Size()
    parser.add_argument("--init-channels", type=int, default=default.channels, metavar="C")
    parser.add_argument("--layers", type=int, default=default.layers)
    parser.add_argument("--size", type=int, default=default.image, help="side of the images")


def build_network(arm: Arm, size: Size, device: str = "cpu") -> SearchNetwork:
    """The supernet of an arm; those of all arms begin with the same weights."""
    torch.manual_seed(0)
    with torch.device(device):
        network = SearchNetwork(
            size.channels, CLASSES, size.layers, backend=arm.backend, memory=arm.memory
        )
    return network.to(memory_format=torch.channels_last) if arm.channels_last else network


def random_batches(arm: Arm, size: Size, device: str, seed: int) -> list[Batch]:
    """Images and labels; those of all arms are the same."""
    generator = torch.Generator().manual_seed(seed)
    shape = (size.batch, 3, size.image, size.image)
    batches = []
    for _ in range(BATCHES):
        images = torch.randn(shape, generator=generator).to(device)
        if arm.channels_last:
            images = images.to(memory_format=torch.channels_last)
        labels = torch.randint(CLASSES, (size.batch,), generator=generator)
        batches.append((images, labels.to(device)))
    return batches


class SearchStep:
    """A network with its optimisers and batches; each call makes one search step.

    ``loss`` is then the cross entropy of the weights' batch before their step.
    """

    def __init__(self, arm: Arm, size: Size, device: str = "cpu") -> None:
        config = SearchConfig()
        self.arm = arm
        self.device = device
        self.grad_clip = config.grad_clip
        self.network = build_network(arm, size, device)
        self.weight_optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )
        self.arch_optimizer = torch.optim.Adam(
            self.network.arch_parameters(),
            lr=config.arch_learning_rate,
            betas=(config.arch_beta1, config.arch_beta2),
            weight_decay=config.arch_weight_decay,
            capturable=device == "cuda",
        )
        self.train_batches = random_batches(arm, size, device, seed=1)
        self.validation_batches = random_batches(arm, size, device, seed=2)
        self.steps = 0
        self.loss = torch.zeros(())

    def __call__(self) -> None:
        self.step(*self.next_batches())

    def next_batches(self) -> tuple[Batch, Batch]:
        """The batches of the next step: for the weights, and for alphas and betas."""
        turn = self.steps % BATCHES
        self.steps += 1
        return self.train_batches[turn], self.validation_batches[turn]

    def step(self, train: Batch, validation: Batch) -> None:
        """Make one search step on two batches."""
        half = self._frozen if self.arm.frozen else self._plain
        with torch.autocast(self.device, torch.bfloat16, enabled=self.arm.bfloat16):
            half(train, validation)

    def _frozen(self, train: Batch, validation: Batch) -> None:
        _, gradient = first_order_gradient(self.network, validation)
        architecture_step(self.arch_optimizer, self.network.arch_parameters(), gradient)
        self.loss, _ = weight_step(self.network, self.weight_optimizer, train, self.grad_clip)

    def _plain(self, train: Batch, validation: Batch) -> None:
        images, labels = validation
        self.arch_optimizer.zero_grad()
        cross_entropy(self.network(images), labels).backward()
        self.arch_optimizer.step()

        images, labels = train
        self.weight_optimizer.zero_grad()
        loss = cross_entropy(self.network(images), labels)
        loss.backward()
        clip_grad_norm_(self.network.parameters(), self.grad_clip)
        self.weight_optimizer.step()
        self.loss = loss.detach()
