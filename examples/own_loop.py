"""A mixed operation and a search loop of one's own, on the fused operators.

    python examples/own_loop.py --epochs 20

The network is a chain of layers, and the search chooses among four operations in each. As in
ADARTS only the channels that the attention scores highest go through the candidates; their weights
are sigmoids, as in FairDARTS (Chu et al., arXiv 1911.12126, section 4.1), so that they do not
compete. Nothing of ``adarts_ext.nn`` is used: attention, selection, BatchNorms with weighted sum,
and scatter are functions of ``adarts_ext.ops``, the rest is plain torch.

Out come the loss of every epoch, and of every layer the candidates' weights and the strongest.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset, random_split

from adarts_ext import ops
from adarts_ext.data import load_dataset


def conv(channels: int, size: int, groups: int = 1) -> nn.Module:
    """A convolution that keeps the size of the image."""
    return nn.Conv2d(channels, channels, size, padding=size // 2, groups=groups, bias=False)


CANDIDATES = {
    "max_pool_3x3": lambda channels: nn.MaxPool2d(3, stride=1, padding=1),
    "conv_1x1": lambda channels: conv(channels, 1),
    "conv_3x3": lambda channels: conv(channels, 3),
    "depthwise_5x5": lambda channels: nn.Sequential(conv(channels, 5, channels), conv(channels, 1)),
}


class MixedOp(nn.Module):
    """The candidates on the most attended quarter of the channels; the others pass by.

    The candidates' BatchNorms take the statistics of the batch, in evaluation too: the supernet is
    only there to choose, and the network that it finds is trained with BatchNorms of its own.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.selected = channels // 4
        self.w1 = nn.Parameter(torch.randn(channels // 2, channels) / channels**0.5)
        self.w2 = nn.Parameter(torch.randn(channels, channels // 2) / channels**0.5)
        self.candidates = nn.ModuleList(build(self.selected) for build in CANDIDATES.values())
        self.norm = nn.BatchNorm2d(channels)  # the scores make what passes by smaller

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Take x (N, C, H, W) and a weight for each candidate to (N, C, H, W)."""
        scores = ops.channel_attention(x, self.w1, self.w2)
        index = ops.select_channels(scores, self.selected)
        chosen = ops.gather_channels(x, index, scores)
        outputs = [candidate(chosen.relu()) for candidate in self.candidates]
        mixed = ops.normalized_mixed_sum(outputs, weights, [True] * len(outputs)).out
        return self.norm(ops.scatter_channels(x, index, mixed, scores))


class Supernet(nn.Module):
    """A stem, mixed operations one after another with a pooling in the middle, a classifier."""

    def __init__(self, channels: int, layers: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, channels, 3, padding=1), nn.BatchNorm2d(channels))
        self.layers = nn.ModuleList(MixedOp(channels) for _ in range(layers))
        self.pooling = nn.MaxPool2d(2)
        self.classifier = nn.Linear(channels, classes)
        self.alphas = nn.Parameter(torch.zeros(layers, len(CANDIDATES)))

    def forward(self, x: Tensor) -> Tensor:
        """Take images (N, 1, H, W) to logits (N, classes)."""
        x = self.stem(x)
        weights = self.alphas.sigmoid()
        for number, layer in enumerate(self.layers):
            x = layer(x, weights[number])
            if number == len(self.layers) // 2:
                x = self.pooling(x)
        return self.classifier(x.mean(dim=(2, 3)))


def search(network: Supernet, epochs: int, batch_size: int) -> None:
    """Take alphas along the loss on one half of the images, the weights along that on the other."""
    data = load_dataset("digits")
    images = TensorDataset(data.train_images / 255, data.train_labels)
    halves = random_split(images, [0.5, 0.5])
    loaders = [DataLoader(half, batch_size, shuffle=True, drop_last=True) for half in halves]
    weights = [weight for weight in network.parameters() if weight is not network.alphas]
    weight_optimizer = torch.optim.SGD(weights, lr=0.05, momentum=0.9, weight_decay=3e-4)
    alpha_optimizer = torch.optim.Adam([network.alphas], lr=0.01, betas=(0.5, 0.999))
    for epoch in range(1, epochs + 1):
        for (images, labels), (other_images, other_labels) in zip(*loaders, strict=True):
            if epoch > epochs // 2:  # before it the weights alone: the warm-up
                loss = cross_entropy(network(other_images), other_labels)
                (network.alphas.grad,) = torch.autograd.grad(loss, [network.alphas])
                alpha_optimizer.step()
            weight_optimizer.zero_grad()
            loss = cross_entropy(network(images), labels)
            loss.backward(inputs=weights)
            weight_optimizer.step()
        print(f"epoch {epoch}/{epochs}: train loss {loss:.4f}")


def main() -> None:
    """Search, and print what each layer is to be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--channels", type=int, default=32, help="(%(default)s)")
    parser.add_argument("--layers", type=int, default=6, help="(%(default)s)")
    parser.add_argument("--epochs", type=int, default=20, help="(%(default)s)")
    parser.add_argument("--batch-size", type=int, default=64, help="images (%(default)s)")
    options = parser.parse_args()

    torch.manual_seed(0)
    network = Supernet(options.channels, options.layers, classes=10)
    search(network, options.epochs, options.batch_size)
    for number, weights in enumerate(network.alphas.detach().sigmoid()):
        each = ", ".join(
            f"{name} {weight:.3f}" for name, weight in zip(CANDIDATES, weights, strict=True)
        )
        print(f"layer {number}: {list(CANDIDATES)[weights.argmax()]} ({each})")


if __name__ == "__main__":
    main()
