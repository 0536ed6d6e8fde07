"""The layers before the first cell, for small images and for large ones."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from adarts_ext.arguments import naming
from adarts_ext.nn.checks import check_choice, check_feature_map
from adarts_ext.ops.operator import check_tensor


class ImageSides(NamedTuple):
    """Which heights and widths of images a network takes.

    Example:
        >>> sides = ImageSides(multiple_of=4, least=16)
        >>> sides.take(20), sides.take(18), str(sides)
        (True, False, 'a multiple of 4, at least 16')
    """

    multiple_of: int
    least: int

    def take(self, side: int) -> bool:
        """Return whether a side is one of them."""
        return side >= self.least and side % self.multiple_of == 0

    def __str__(self) -> str:
        return f"a multiple of {self.multiple_of}, at least {self.least}"


#: The stems, and the images that two reduction cells can halve after each of them.
STEMS = {"cifar": ImageSides(4, 16), "imagenet": ImageSides(32, 64)}


class StemmedNetwork(nn.Module):
    """A network that begins with a stem, whose parts have the names that they have in DARTS.

    ``stem="cifar"`` is ``stem``, a 3x3 convolution and BatchNorm; both inputs of the first cell are
    what it gives. ``stem="imagenet"`` brings images of 224x224 to 28x28 by three 3x3 convolutions
    of stride 2: ``stem0`` is convolution, BatchNorm, ReLU, convolution, BatchNorm, and ``stem1``
    ReLU, convolution, BatchNorm. The inputs of the first cell are what the two give, so it stands
    as after a reduction cell (DARTS, arXiv 1806.09055; for the search PC-DARTS, arXiv 1907.05737,
    section 4.3).

    Args:
        stem: One of :data:`STEMS`.
        in_channels: Channels of the images.
        init_channels: Channels of a node of the first cell.
        stem_channels: Channels that the stem gives; the first convolution of ``"imagenet"`` gives
            half of them.

    Raises:
        ValueError: If the stem is unknown, or ``init_channels`` odd with ``"imagenet"``.
    """

    def __init__(self, stem: str, in_channels: int, init_channels: int, stem_channels: int) -> None:
        super().__init__()
        owner = type(self).__name__
        check_choice(owner, "stem", stem, tuple(STEMS))
        if stem == "imagenet" and init_channels % 2:
            message = f"{owner}: init_channels must be even with stem imagenet, got {init_channels}"
            raise naming(ValueError(message), "init_channels")
        self.in_channels = in_channels
        self._sides = STEMS[stem]
        self._parts = ("stem",) if stem == "cifar" else ("stem0", "stem1")
        if stem == "cifar":
            self.stem = nn.Sequential(*_conv_bn(in_channels, stem_channels, stride=1))
        else:
            half = stem_channels // 2
            self.stem0 = nn.Sequential(
                *_conv_bn(in_channels, half, 2), nn.ReLU(), *_conv_bn(half, stem_channels, 2)
            )
            self.stem1 = nn.Sequential(nn.ReLU(), *_conv_bn(stem_channels, stem_channels, 2))

    def stem_outputs(self, x: Tensor) -> list[Tensor]:
        """Return what the parts of the stem make of images.

        Raises:
            TypeError: If ``x`` is no tensor, or not floating point.
            ValueError: If ``x`` is not (N, in_channels, H, W), with H and W that the network takes.
        """
        self._check_images(x)
        outputs = []
        for name in self._parts:
            x = getattr(self, name)(x)
            outputs.append(x)
        return outputs

    def _check_images(self, x: Tensor) -> None:
        owner = type(self).__name__
        check_tensor(owner, "x", x)
        if not x.is_floating_point():
            raise TypeError(f"{owner}: expected floating-point images, got {x.dtype}")
        check_feature_map(owner, x, self.in_channels)
        if not all(map(self._sides.take, x.shape[2:])):
            multiple_of, least = self._sides
            raise ValueError(
                f"{owner}: height and width must be multiples of {multiple_of} and at least "
                f"{least}, got shape {tuple(x.shape)}"
            )


def _conv_bn(in_channels: int, out_channels: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(out_channels)]
