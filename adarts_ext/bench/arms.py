"""One whole search step of the supernet, in every way it can be run.

A step trains alphas and betas on one batch (Adam) and then the weights on another (SGD, clipped),
as in ADARTS (arXiv 2208.00791). The plain arms run the network of
:mod:`adarts_ext.reference.networks`.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_

import adarts_ext
from adarts_ext import graphed
from adarts_ext.bench.groups import BASELINE, Size
from adarts_ext.nn import SearchNetwork
from adarts_ext.reference import networks
from adarts_ext.search import SearchConfig
from adarts_ext.search.build import make_optimizers
from adarts_ext.search.step import Batch, architecture_step, first_order_gradient, weight_step

CLASSES = 10
NODES = 4  # of a cell


@dataclass(frozen=True)
class Arm:
    """A way of running a search step.

    Args:
        network: ``"plain"``, ``"ours"``, or ``"drop-in"`` for the plain one accelerated in place.
        memory: ``"store"`` or ``"recompute"``, for the last two.
        channels_last: whether weights and images lie in memory channel by channel last.
        frozen: whether each half computes only the gradients that it uses.
    """

    network: str = "plain"
    memory: str = "store"
    channels_last: bool = False
    frozen: bool = False


#: ``plain`` is the step as the method's authors released it: images in NCHW, and both halves
#: compute the gradients of weights, alphas and betas, whichever they use. ``drop-in`` changes one
#: line of it.
ARMS = {
    BASELINE: Arm(),
    "channels_last": Arm(channels_last=True),
    "frozen": Arm(frozen=True),
    "frozen, channels_last": Arm(channels_last=True, frozen=True),
    "drop-in": Arm("drop-in"),
    "ours, store": Arm("ours", frozen=True),
    "ours, recompute": Arm("ours", "recompute", frozen=True),
}


def build_network(arm: Arm, size: Size, device: str = "cpu") -> nn.Module:
    """Build the supernet of an arm; those of all arms begin with the same weights."""
    torch.manual_seed(0)
    # Within such a context it takes twice as long.
    with nullcontext() if device == "cpu" else torch.device(device):
        network = networks.Network("adarts", size.channels, CLASSES, size.layers, NODES)
        if arm.network == "ours":
            network = _as_ours(network, size, arm.memory)
        elif arm.network == "drop-in":
            network = adarts_ext.accelerate(network, memory=arm.memory)
    return network.to(memory_format=torch.channels_last) if arm.channels_last else network


def _as_ours(network: networks.Network, size: Size, memory: str) -> SearchNetwork:
    ours = SearchNetwork(size.channels, CLASSES, size.layers, memory=memory, steps=NODES)
    ours.load_state_dict(network.state_dict())
    with torch.no_grad():
        for to, values in zip(ours.arch_parameters(), network.arch_parameters(), strict=True):
            to.copy_(values)
    return ours


def random_batches(arm: Arm, size: Size, device: str, count: int, seed: int) -> list[Batch]:
    """Draw images and labels; those of all arms are the same."""
    generator = torch.Generator().manual_seed(seed)
    shape = (size.batch, 3, size.image, size.image)
    batches = []
    for _ in range(count):
        images = torch.randn(shape, generator=generator).to(device)
        if arm.channels_last:
            images = images.to(memory_format=torch.channels_last)
        labels = torch.randint(CLASSES, (size.batch,), generator=generator)
        batches.append((images, labels.to(device)))
    return batches


class SearchStep:
    """A network with its optimisers and batches; each call makes one search step.

    ``loss`` is then the cross entropy of the weights' batch before their step.

    Args:
        arm: How the step is run.
        size: The network and its batches.
        device: ``"cpu"`` or ``"cuda"``.
        bfloat16: whether the passes run under autocast to bfloat16.
        batches: how many there are of each half, used in turn.
    """

    def __init__(
        self, arm: Arm, size: Size, device: str = "cpu", bfloat16: bool = False, batches: int = 4
    ) -> None:
        config = SearchConfig()
        self.arm = arm
        self.device = device
        self.bfloat16 = bfloat16
        self.grad_clip = config.grad_clip
        self.network = build_network(arm, size, device)
        ours = arm.network == "ours"
        weights = self.network.flat_parameters() if ours else self.network.parameters()
        self.weight_optimizer, self.arch_optimizer = make_optimizers(
            config, weights, self.network.arch_parameters()
        )
        self.train_batches = random_batches(arm, size, device, batches, seed=1)
        self.validation_batches = random_batches(arm, size, device, batches, seed=2)
        self.steps = 0
        self.loss = torch.zeros(())

        self._call = self.step

    def as_graph(self) -> SearchStep:
        """From now on make the steps as one CUDA graph; the first :data:`WARM_UP` warm up."""
        self._call = graphed(self.step)
        return self

    def __call__(self) -> None:
        """Make one search step."""
        train, validation = self.next_batches()
        self.loss = self._call(*train, *validation)

    def next_batches(self) -> tuple[Batch, Batch]:
        """Return the batches of the next step: for the weights, and for alphas and betas."""
        turn = self.steps % len(self.train_batches)
        self.steps += 1
        return self.train_batches[turn], self.validation_batches[turn]

    def step(self, *parts: Tensor) -> Tensor:
        """Make one search step on a batch for the weights and one for alphas and betas.

        Args:
            parts: Images and labels of the first, then of the second.

        Returns:
            The loss of the first before the weights' step.
        """
        half = self._frozen if self.arm.frozen else self._plain
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bfloat16):
            return half(parts[:2], parts[2:])

    def _frozen(self, train: Batch, validation: Batch) -> Tensor:
        _, gradient = first_order_gradient(self.network, self.weight_optimizer, validation)
        architecture_step(self.arch_optimizer, self.network.arch_parameters(), gradient)
        loss, _ = weight_step(self.network, self.weight_optimizer, train, self.grad_clip)
        return loss

    def _plain(self, train: Batch, validation: Batch) -> Tensor:
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
        return loss.detach()
