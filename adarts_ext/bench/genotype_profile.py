"""What the network of a genotype costs on this machine: size, time and memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from adarts_ext.bench import machine
from adarts_ext.bench.parts.memory import kept_bytes
from adarts_ext.bench.timing import interleave, stopwatch
from adarts_ext.genotype import Genotype
from adarts_ext.nn.stem import STEMS
from adarts_ext.retrain.build import build_network
from adarts_ext.retrain.config import NETWORK, RetrainConfig
from adarts_ext.retrain.cost import ImageKind, network_cost
from adarts_ext.runs.device import resolve_device
from adarts_ext.runs.options import check_choice, check_image_size, check_range, one_of


@dataclass(frozen=True)
class ProfileConfig:
    """Which network is profiled, and how.

    Args:
        init_channels: channels of the first cells.
        layers: number of cells.
        num_classes: number of logits.
        in_channels: channels of an image.
        image_size: side of an image in pixels: a multiple of 4 and at least 16, with stem imagenet
            of 32 and at least 64.
        batch_size: images in a batch.
        device: auto (CUDA where there is one, else the CPU), cpu, cuda or cuda:<number>.
        rounds: how often each time is taken.
        stem: the layers before the first cell, cifar or imagenet.

    Raises:
        ValueError: If a value is out of its range.
    """

    init_channels: int = NETWORK["init_channels"]
    layers: int = NETWORK["layers"]
    num_classes: int = NETWORK["num_classes"]
    in_channels: int = 3
    image_size: int = 32
    batch_size: int = RetrainConfig.batch_size
    device: str = "auto"
    rounds: int = 5
    stem: str = one_of(NETWORK["stem"], STEMS)

    def __post_init__(self) -> None:
        for name in ("init_channels", "layers", "in_channels", "batch_size", "rounds"):
            check_range(name, getattr(self, name), 1)
        check_range("num_classes", self.num_classes, 2)
        check_choice("stem", self.stem, STEMS)
        check_image_size(self.image_size, self.stem)

    def network(self) -> tuple[RetrainConfig, ImageKind]:
        """Return the options of the network, and what it has to know of images."""
        images = ImageKind(self.in_channels, (self.image_size,) * 2, self.num_classes)
        network = RetrainConfig(
            init_channels=self.init_channels, layers=self.layers, stem=self.stem
        )
        return network, images


def profile_genotype(genotype: Genotype, config: ProfileConfig) -> dict[str, Any]:
    """Measure the network of a genotype, without auxiliary head, with random weights and images.

    Args:
        genotype: The two cells.
        config: The network, its batches and the device.

    Returns:
        ``parameters``, ``parameters_with_auxiliary``, ``macs`` and ``flops`` as
        :func:`adarts_ext.retrain.cost.network_cost` gives them; ``device``, its name, and how many
        ``threads`` the CPU has of torch; ``seconds``, for each of ``"one image"`` and ``"a batch"``
        in evaluation and ``"a training pass"`` (forward and backward of a batch) the times of the
        rounds, in turn; and ``kept_bytes``, what a training pass keeps for backward.

    Raises:
        ValueError: If the device is not there.
    """
    device = resolve_device(config.device)
    whole, images = config.network()
    plain = replace(whole, auxiliary=False)
    torch.manual_seed(0)
    networks = [build_network(genotype, plain, images).to(device) for _ in range(2)]
    tested, trained = networks[0].eval(), networks[1]
    batch = torch.randn(config.batch_size, config.in_channels, *images.image_size, device=device)

    def train() -> None:
        trained(batch).sum().backward()

    @torch.no_grad()
    def test(count: int) -> None:
        tested(batch[:count])

    arms = {
        "one image": lambda: test(1),
        "a batch": lambda: test(config.batch_size),
        "a training pass": train,
    }
    known = [*trained.parameters(), *trained.buffers(), batch]
    return {
        **network_cost(genotype, whole, images),
        "device": machine.device_name(device.type),
        "threads": torch.get_num_threads(),
        "seconds": interleave(arms, config.rounds, stopwatch(device.type)),
        "kept_bytes": kept_bytes(lambda: trained(batch), known),
    }
