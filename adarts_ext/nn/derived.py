"""The network that a genotype describes, trained from scratch after the search."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from adarts_ext.genotype import Genotype
from adarts_ext.nn.cell_shapes import CellShape, cell_shapes
from adarts_ext.nn.checks import check_at_least
from adarts_ext.nn.operations import FactorizedReduce, Identity, ReLUConvBN, build_operation
from adarts_ext.nn.processes import whole_batch
from adarts_ext.nn.stem import StemmedNetwork
from adarts_ext.nn.synchronised import synchronise_batch_norms


def drop_path(x: Tensor, probability: float) -> Tensor:
    """Zero whole samples at random and scale the others so that the expectation stays.

    Each sample is zeroed with ``probability`` and divided by ``1 - probability`` otherwise
    (FractalNet, arXiv 1605.07648, as DARTS uses it).

    Args:
        x: Feature map (N, C, H, W).
        probability: At least 0 and less than 1.

    Raises:
        ValueError: If ``probability`` is out of range.

    Example:
        >>> bool((drop_path(torch.ones(2, 3, 4, 4), 0.0) == 1).all())
        True
    """
    if not 0 <= probability < 1:
        raise ValueError(
            f"drop_path: probability must be at least 0 and less than 1, got {probability}"
        )
    images, own = whole_batch(len(x))  # processes that share a batch draw the same numbers for it
    # Not bernoulli_, for whose probability torch.compile would compile anew whenever it changes.
    kept = torch.rand(images, 1, 1, 1, device=x.device)[own] >= probability
    return x * (kept.to(x.dtype) / (1 - probability))


class DerivedCell(nn.Module):
    """A cell of a derived network: every node sums two operations.

    BatchNorms have a scale and a shift, and none follows a pooling (DARTS, arXiv 1806.09055).
    """

    def __init__(self, genotype: Genotype, shape: CellShape) -> None:
        super().__init__()
        edges = genotype.reduce if shape.reduction else genotype.normal
        self.concat = genotype.reduce_concat if shape.reduction else genotype.normal_concat
        self.sources = [source for _, source in edges]
        self.out_channels = len(self.concat) * shape.channels
        preprocess0 = FactorizedReduce if shape.reduction_previous else ReLUConvBN
        self.preprocess0 = preprocess0(
            shape.previous_previous_channels, shape.channels, affine=True
        )
        self.preprocess1 = ReLUConvBN(shape.previous_channels, shape.channels, affine=True)
        self._ops = nn.ModuleList(
            build_operation(
                name, shape.channels, 2 if shape.reduction and source < 2 else 1, affine=True
            )
            for name, source in edges
        )

    def forward(self, s0: Tensor, s1: Tensor, drop_path_prob: float) -> Tensor:
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        outputs: list[Tensor] = []
        for operation, source in zip(self._ops, self.sources, strict=True):
            output = operation(states[source])
            if self.training and drop_path_prob > 0 and not isinstance(operation, Identity):
                output = drop_path(output, drop_path_prob)
            outputs.append(output)
            if len(outputs) == 2:
                states.append(outputs[0] + outputs[1])
                outputs.clear()
        return torch.cat([states[node] for node in self.concat], dim=1)


class PoolToTwo(nn.Module):
    """Average over 2 x 2 overlapping windows, each about 5/8 of the size: 5x5, stride 3, at 8x8.

    Example:
        >>> PoolToTwo()(torch.ones(1, 3, 8, 6)).shape
        torch.Size([1, 3, 2, 2])
    """

    def forward(self, x: Tensor) -> Tensor:
        sizes = x.shape[2:]
        window = [max(1, min(math.ceil(5 * size / 8), size - 1)) for size in sizes]
        stride = [size - covered for size, covered in zip(sizes, window, strict=True)]
        return functional.avg_pool2d(x, window, stride)


class AuxiliaryHead(nn.Module):
    """The second classifier that DARTS trains on the features after two thirds of the cells.

    It pools to 2x2, so other image sizes serve too. At 8x8, of images of 32x32, that is the 5x5
    window with stride 3 of DARTS's head for CIFAR; at 7x7, of images of 224x224 after the stem for
    ImageNet, the 5x5 window with stride 2 of its head for ImageNet.

    Args:
        channels: Channels of the features.
        num_classes: Number of logits.
        last_norm: Whether a BatchNorm follows the second convolution. DARTS's head for ImageNet
            leaves it out, by a mistake that its published results were made with.
    """

    def __init__(self, channels: int, num_classes: int, last_norm: bool = True) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.ReLU(),
            PoolToTwo(),
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            *([nn.BatchNorm2d(768)] if last_norm else []),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


class DerivedNetwork(StemmedNetwork):
    """The network of a genotype: stem, cells, global average pooling, linear classifier.

    Cells ``layers // 3`` and ``2 * layers // 3`` are reduction cells (DARTS, arXiv 1806.09055);
    with fewer than 3 layers there are no others. While training, ``drop_path_prob``, an attribute
    that starts at 0, is the probability with which :func:`drop_path` zeroes an operation's output
    for a sample; it never touches a skip connection that is the identity.

    Args:
        genotype: Structure of the cells.
        init_channels: Channels of a node of the first cell; each reduction cell doubles them.
        num_classes: Number of logits.
        layers: Number of cells.
        auxiliary: Whether there is an auxiliary head after cell ``2 * layers // 3``.
        in_channels: Channels of the images.
        sync_batch_norm: As in :class:`SearchNetwork`.
        stem: As in :class:`SearchNetwork`, but ``"imagenet"`` gives ``init_channels``. With it the
            network is DARTS's for ImageNet: there 48 channels and 14 layers.

    Shape:
        Images (N, in_channels, H, W), floating point, H and W multiples of 4 and at least 16, with
        stem ``"imagenet"`` multiples of 32 and at least 64, to logits (N, num_classes); in training
        with the auxiliary head to a pair (logits, logits of the auxiliary head).

    Raises:
        ValueError: If an argument is out of range or the images have another shape.
        TypeError: If the images are no tensor, or not floating point.

    Example:
        >>> from adarts_ext.genotype import ADARTS_V1
        >>> network = DerivedNetwork(ADARTS_V1, init_channels=4, layers=3).eval()
        >>> network(torch.randn(2, 3, 16, 16)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        genotype: Genotype,
        init_channels: int = 36,
        num_classes: int = 10,
        layers: int = 20,
        auxiliary: bool = True,
        in_channels: int = 3,
        sync_batch_norm: bool = False,
        stem: str = "cifar",
    ) -> None:
        check_at_least(
            "DerivedNetwork",
            1,
            init_channels=init_channels,
            num_classes=num_classes,
            layers=layers,
            in_channels=in_channels,
        )
        stem_channels = init_channels if stem == "imagenet" else 3 * init_channels
        super().__init__(stem, in_channels, init_channels, stem_channels)
        self.genotype = genotype
        self.num_classes = num_classes
        self.auxiliary = auxiliary
        self.drop_path_prob = 0.0
        nodes = len(genotype.normal_concat), len(genotype.reduce_concat)
        self.cells = nn.ModuleList(
            DerivedCell(genotype, shape)
            for shape in cell_shapes(init_channels, layers, *nodes, stem, stem_channels)
        )
        self.auxiliary_position = 2 * layers // 3
        if auxiliary:
            channels = self.cells[self.auxiliary_position].out_channels
            self.auxiliary_head = AuxiliaryHead(channels, num_classes, last_norm=stem != "imagenet")
        self.classifier = nn.Linear(self.cells[-1].out_channels, num_classes)
        if sync_batch_norm:
            synchronise_batch_norms(self)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        auxiliary_logits = None
        states = self.stem_outputs(x)
        s0, s1 = states[0], states[-1]
        for position, cell in enumerate(self.cells):
            s0, s1 = s1, cell(s0, s1, self.drop_path_prob)
            if self.training and self.auxiliary and position == self.auxiliary_position:
                auxiliary_logits = self.auxiliary_head(s1)
        logits = self.classifier(functional.adaptive_avg_pool2d(s1, 1).flatten(1))
        return logits if auxiliary_logits is None else (logits, auxiliary_logits)

    def extra_repr(self) -> str:
        return (
            f"num_classes={self.num_classes}, layers={len(self.cells)}, "
            f"auxiliary={self.auxiliary}, in_channels={self.in_channels}, "
            f"genotype={self.genotype}"
        )
