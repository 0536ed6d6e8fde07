"""A candidate operation of one's own in the supernet, and how its weight is read afterwards.

    python examples/own_candidate.py --epochs 20

To the eight candidates of DARTS this script adds a 1x7 convolution and then a 7x1 one, which the
NASNet space has (Zoph et al., arXiv 1707.07012, section 3), and searches on the digits.

Out come what the cells run on with and without it (the fused kernels know the eight only, so cells
with others run operator by operator), the weight of the operation in both kinds of cell, the
genotype, and the derived network, ready to be trained.

The commands take the same file, and run it for what it registers:

    adarts search --candidates examples/own_candidate.py --space darts,conv_1x7_7x1 --out runs/own
    adarts retrain --candidates examples/own_candidate.py runs/own
"""

from __future__ import annotations

import argparse

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset, random_split

from adarts_ext.data import load_dataset
from adarts_ext.genotype import PRIMITIVES
from adarts_ext.nn import DerivedNetwork, SearchNetwork, register_candidate

NAME = "conv_1x7_7x1"


def conv_1x7_7x1(channels: int, stride: int, affine: bool) -> nn.Sequential:
    """Make the operation: ReLU, 1x7 convolution, 7x1 convolution, BatchNorm.

    A candidate keeps the number of channels and halves height and width at stride 2. As an
    ``nn.Sequential`` that ends in a BatchNorm, without scale and shift in the search, it has that
    BatchNorm done together with the weighted sum; any other module will do too.
    """
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, channels, (1, 7), (1, stride), (0, 3), bias=False),
        nn.Conv2d(channels, channels, (7, 1), (stride, 1), (3, 0), bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    )


register_candidate(NAME, conv_1x7_7x1)


def search(network: SearchNetwork, epochs: int, batch_size: int) -> None:
    """Train weights and alphas in turn, each on one half of the training images."""
    data = load_dataset("digits")
    images = TensorDataset(data.train_images / 255, data.train_labels)
    halves = random_split(images, [0.5, 0.5])
    loaders = [DataLoader(half, batch_size, shuffle=True, drop_last=True) for half in halves]
    weights, arch = network.flat_parameters(), network.arch_parameters()
    weight_optimizer = torch.optim.SGD(weights, lr=0.025, momentum=0.9, weight_decay=3e-4)
    arch_optimizer = torch.optim.Adam(arch, lr=3e-3, betas=(0.5, 0.999), weight_decay=1e-3)
    for epoch in range(1, epochs + 1):
        for (images, labels), (other_images, other_labels) in zip(*loaders, strict=True):
            loss = cross_entropy(network(other_images), other_labels)
            for parameter, grad in zip(arch, torch.autograd.grad(loss, arch), strict=True):
                parameter.grad = grad
            arch_optimizer.step()
            weight_optimizer.zero_grad(set_to_none=False)
            loss = cross_entropy(network(images), labels)
            loss.backward()
            nn.utils.clip_grad_norm_(weights, 5.0)
            weight_optimizer.step()
        print(f"epoch {epoch}/{epochs}: train loss {loss:.4f}")


def main() -> None:
    """Search among nine candidates, and read what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--channels", type=int, default=16, help="of the first cells (%(default)s)")
    parser.add_argument("--layers", type=int, default=5, help="cells (%(default)s)")
    parser.add_argument("--epochs", type=int, default=20, help="(%(default)s)")
    parser.add_argument("--batch-size", type=int, default=64, help="images (%(default)s)")
    options = parser.parse_args()

    torch.manual_seed(0)
    sizes = {"layers": options.layers, "in_channels": 1}
    published = SearchNetwork(options.channels, **sizes)
    print(f"as published the cells run on: {published.cells[0].kernels()}")
    network = SearchNetwork(options.channels, candidates=[*PRIMITIVES, NAME], **sizes)
    print(f"with an operation of one's own: {network.cells[0].kernels()}")
    search(network, options.epochs, options.batch_size)

    place = network.columns.index(NAME)
    for kind, weights in network.operation_weights()._asdict().items():
        best = int((weights.argmax(dim=-1) == place).sum())
        print(
            f"{kind} cell: {NAME} weighs {weights[:, place].mean():.4f} on average (a ninth at the "
            f"start), and most of all on {best} of {len(weights)} edges"
        )
    genotype = network.genotype()
    print(f"genotype: {genotype.to_json()}")
    derived = DerivedNetwork(genotype, init_channels=options.channels, **sizes)
    count = sum(weight.numel() for weight in derived.parameters())
    print(f"the network to train now: {count:,} parameters")


if __name__ == "__main__":
    main()
